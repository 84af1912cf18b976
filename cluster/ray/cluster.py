"""A Ray cluster for the length of a sweep: the one that RAY_ADDRESS names, else one of this machine, started and ended.

Whoever reaches a cluster's ports may run programs on it, so one of ours asks for a token, kept in a file that only its
owner can read; `~/.ray` is left alone. Ray is imported late: it reads its settings from the environment at that moment.
"""

import logging
import os
import platform
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relusweep.cluster.announcement import announced
from relusweep.cluster.backend import BackendError
from relusweep.cluster.host.safe_path import Secured
from relusweep.cluster.host.signals import restored
from relusweep.cluster.ray.folder import RAYS, folder
from relusweep.cluster.ray.token import ask_for_token, check_token, has_token

STORE_BYTES = 80 * 2**20  # of shared memory: packs travel through files, and Ray asks for 75 MiB at least
_CONNECT_SECONDS = 5.0

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a store may be given as a relative path
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns that its default will change
    "RAY_raylet_start_wait_time_s": "120",  # a loaded machine takes more than the default
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",  # what outlives a killed launcher waits a minute by default
    "RAY_metrics_report_interval_ms": "2000",  # as often as workers report; Ray's 10 s hide a short sweep
    "RAY_worker_niceness": "0",  # Ray's 15 would leave a shared machine to the others
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # three files a trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours lets the workers write their states
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # of Tune's own state, which we do not need
    "RAY_AIR_NEW_OUTPUT": "0",  # the old one can be silent
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


def load() -> Any:
    """Import Ray with the settings that suit us, where the user has not chosen others.

    Raises:
        BackendError: if it is not installed.
    """
    settle()
    if not address():
        os.environ["RAY_AUTH_MODE"] = "token"
    elif has_token():  # without a mode Ray would not send it
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
        import ray.tune
        from ray._raylet import Config
    except ImportError as error:
        raise BackendError(f"--on ray: {error}; expected Ray. pip install 'relusweep[ray]'") from None
    Config.initialize("")  # read the settings again: a notebook may have imported Ray before they were made
    return ray


def settle() -> None:
    """Set what suits us of Ray and the user has not set, for this process and those that it starts."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def address() -> str:
    """Return where the cluster is that the user chose; empty if there is none."""
    return os.environ.get("RAY_ADDRESS", "")


@contextmanager
def connected(title: str = "") -> Iterator[None]:
    """Be a driver of the cluster that RAY_ADDRESS names.

    Args:
        title: What the dashboard calls the job.

    Raises:
        BackendError: if that does not succeed.
    """
    ray, where = load(), address()
    reachable(where)
    try:
        if where != "auto":
            check_token(where, _CONNECT_SECONDS)
        with restored(), _nowhere():  # Ray replaces a handler
            ray.init(
                where, namespace="relusweep", log_to_driver=False, logging_level=logging.ERROR,
                job_config=_named(title),
            )  # fmt: skip
    except BackendError:
        raise
    except Exception as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackendError(
            f"RAY_ADDRESS={where}: {problem.rstrip('.')}; expected a cluster with a node on this machine, and "
            "RAY_AUTH_TOKEN_PATH=FILE where it asks for a token."
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def started(cpus: int, gpus: int, say: Callable[[str], None], title: str = "") -> Iterator[None]:
    """Be the driver of a new cluster on this machine, which only its token opens; it ends with us.

    Raises:
        BackendError: if Ray does not start.
    """
    ray = load()
    with folder() as home:
        token = home / "token"
        ask_for_token(token)
        try:
            with (
                restored(),
                _away_from_signals(),
                _temporary_files_in(home),
                _nowhere(),
                announced("Ray is starting.", say),
                _in_one_line(),
            ):
                cluster = ray.init(
                    "local", num_cpus=cpus, num_gpus=gpus, object_store_memory=STORE_BYTES, include_dashboard=True,
                    namespace="relusweep", log_to_driver=False, logging_level=logging.ERROR,
                    job_config=_named(title), _temp_dir=str(home / RAYS),
                )  # fmt: skip
            say(f"Ray dashboard: {dashboard(cluster.dashboard_url)} It asks for the token in {token}")
            yield
        finally:
            ray.shutdown()
            os.environ.pop("RAY_AUTH_TOKEN_PATH", None)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Make one line of whatever Ray raises when one of its processes dies before all of them have started."""
    try:
        yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        problem = lines[-1] if lines else type(error).__name__  # before it come pages of a log
        raise BackendError(
            f"--on ray: Ray did not start on this machine: {problem.rstrip('.')}; expected it to. The same command "
            "tries again; relusweep doctor --on ray looks for what is missing."
        ) from None


def _named(title: str) -> Any:
    """Return a configuration that names the driver's job in the dashboard's list."""
    from ray.job_config import JobConfig

    return JobConfig(metadata={"job_name": title} if title else {})


def dashboard(url: str | None) -> str:
    """Return where the dashboard is, and how to get there from another machine, if this is one."""
    if not url:
        return "none."
    if not {"SSH_CONNECTION", "SLURM_JOB_ID"} & set(os.environ):
        return f"http://{url}"
    host, _, port = url.rpartition(":")
    login = os.environ.get("SLURM_SUBMIT_HOST")
    if login is None:
        through = platform.node()
    elif host.startswith("127."):  # only this node itself gets there
        through = f"-J {login} {platform.node()}"
    else:
        through = login
    return f"http://localhost:{port} after `ssh -N -L {port}:{url} {through}`."


def reachable(where: str) -> None:
    """Refuse at once what Ray would try for a minute.

    Raises:
        BackendError: if nothing listens there.
    """
    if "://" in where:
        raise BackendError(f"RAY_ADDRESS={where}: got a client's address; expected HOST:PORT of a node.")
    host, _, port = where.rpartition(":")
    if where == "auto":
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise BackendError(
            f"RAY_ADDRESS={where}: {error}; expected HOST:PORT of a running cluster. Without it Ray is started here."
        ) from None


@contextmanager
def _away_from_signals() -> Iterator[None]:
    """Let processes that are started now lead sessions of their own.

    A signal to our group, as `timeout` or a closing terminal sends it, would end Ray before the states are written.
    They still end when we do: Ray asks the kernel for that.
    """
    global _leads_session  # noqa: PLW0603 - a hook of forks cannot be taken back
    _leads_session = True
    try:
        yield
    finally:
        _leads_session = False


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let processes that are started now leave nothing elsewhere: Ray ends some of its own by force."""
    old = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        if old is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = old


@contextmanager
def _nowhere() -> Iterator[None]:
    """Let processes that are started now, and workers of the driver that connects, import nothing of this folder.

    Ray puts the current folder of the driver, and that of its script, in front of the path of every worker.
    """
    if token := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        os.environ["RAY_AUTH_TOKEN_PATH"] = os.path.abspath(token)
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chdir("/")
        with Secured():
            yield
    finally:
        os.fchdir(here)
        os.close(here)


_leads_session = False
os.register_at_fork(after_in_child=lambda: os.setsid() if _leads_session else None)
