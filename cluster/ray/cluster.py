"""A Ray cluster for the length of a sweep: the one that RAY_ADDRESS names, else one of this machine, started and ended.

Whoever reaches a cluster's ports may run programs on it, so one of ours asks for a token, kept in a file that only its
owner can read; `~/.ray` is left alone. Ray is imported late: it reads its settings from the environment at that moment.
"""

import fcntl
import logging
import os
import platform
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from relusweep.cluster.backend import BackendError
from relusweep.cluster.safe_path import Secured

STORE_BYTES = 80 * 2**20  # of shared memory: packs travel through files, and Ray asks for 75 MiB at least
RAYS = "ray"  # within our folder, which only its owner enters: Ray lets everybody write into its own
_LONGEST_FOLDER = 44  # Ray's sockets lie some 60 characters deeper, and 107 are allowed
_CONNECT_SECONDS = 5.0
_ABANDONED_SECONDS = 60  # a folder without a lock is being made, or its maker was killed

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a store may be given as a relative path
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns that its default will change
    "RAY_raylet_start_wait_time_s": "120",  # a loaded machine takes more than the default
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",  # what outlives a killed launcher waits a minute by default
    "RAY_metrics_report_interval_ms": "2000",  # as often as workers say something; Ray's 10 s hide a short sweep
    "RAY_worker_niceness": "0",  # Ray's 15 would leave a shared machine to the others
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # three files a trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours lets the workers write their states
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # of Tune's own state, which nobody needs
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
    elif _has_token():  # without a mode Ray would not send it
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
        import ray.tune
    except ImportError as error:
        raise BackendError(f"--on ray: {error}; expected Ray. pip install 'relusweep[ray]'") from None
    return ray


def settle() -> None:
    """Set what suits us of Ray and the user has not set, for this process and those that it starts."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def ask_for_token(path: Path) -> None:
    """Write a new token into a file of our own, and have clusters that are started from now on ask for it."""
    path.unlink(missing_ok=True)  # it might be somebody else's
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(_token())
    os.environ.pop("RAY_AUTH_TOKEN", None)  # it would go first
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path.absolute())}


def address() -> str:
    """Where the cluster is that the user chose; empty if there is none."""
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
            _check_token(where)
        with _own_signals(), _nowhere():
            ray.init(
                where, namespace="relusweep", log_to_driver=False, logging_level=logging.ERROR,
                job_config=_named(title),
            )  # fmt: skip
    except BackendError:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackendError(
            f"RAY_ADDRESS={where}: {said.rstrip('.')}; expected a cluster with a node on this machine, and "
            "RAY_AUTH_TOKEN_PATH=FILE where it asks for a token."
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def started(cpus: int, gpus: int, say: Callable[[str], None], title: str = "") -> Iterator[None]:
    """Be the driver of a new cluster on this machine, which nobody without its token can use; it ends with us."""
    ray = load()
    with folder() as home:
        token = home / "token"
        ask_for_token(token)
        try:
            with _own_signals(), _away_from_signals(), _temporary_files_in(home), _nowhere():
                told = ray.init(
                    "local", num_cpus=cpus, num_gpus=gpus, object_store_memory=STORE_BYTES, include_dashboard=True,
                    namespace="relusweep", log_to_driver=False, logging_level=logging.ERROR,
                    job_config=_named(title), _temp_dir=str(home / RAYS),
                )  # fmt: skip
            say(f"Ray dashboard: {dashboard(told.dashboard_url)} It asks for the token in {token}")
            yield
        finally:
            ray.shutdown()
            os.environ.pop("RAY_AUTH_TOKEN_PATH", None)


def _named(title: str) -> Any:
    """Name the driver's job, as the dashboard's list of jobs reads it."""
    from ray.job_config import JobConfig

    return JobConfig(metadata={"job_name": title} if title else {})


def dashboard(url: str | None) -> str:
    """Say where the dashboard is, and how to get there from another machine, if this is one."""
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
    """Refuse what Ray would try in vain for a minute.

    Raises:
        BackendError: if nobody listens there.
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


def _check_token(where: str) -> None:
    """Ask once whether the cluster lets us in: Ray would ask twenty times, and then say that nobody answers.

    Raises:
        BackendError: if it does not.
    """
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    asked = gcs_service_pb2.GetClusterIdRequest()  # pyright: ignore[reportAttributeAccessIssue] - made at import
    channel = init_grpc_channel(where)
    try:
        NodeInfoGcsServiceStub(channel).GetClusterId(asked, timeout=_CONNECT_SECONDS)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:  # pyright: ignore[reportAttributeAccessIssue]
            got = f"got that of {_token_source()}" if _has_token() else "got none"
            raise BackendError(
                f"RAY_ADDRESS={where}: the cluster asks for its token, {got}; "
                "expected RAY_AUTH_TOKEN_PATH=FILE with it."
            ) from None
    finally:
        channel.close()


def _token_source() -> str:
    if "RAY_AUTH_TOKEN" in os.environ:
        return "RAY_AUTH_TOKEN"
    return os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")


def _has_token() -> bool:
    named = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    return bool(named) or Path("~/.ray/auth_token").expanduser().exists()


@cache
def _token() -> str:
    """One for all clusters of this process: Ray reads it once."""
    return secrets.token_hex(32)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handlers of signals, of which Ray replaces one."""
    old = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


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


@contextmanager
def folder() -> Iterator[Path]:
    """Make a short folder for Ray's sockets and logs; those of killed launchers go."""
    base = Path(tempfile.gettempdir())
    _remove_abandoned(base)
    home = Path(tempfile.mkdtemp(prefix="relusweep-", dir=base if is_short(base) else "/tmp"))
    try:
        with open(home / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process, however that ends
            yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def is_short(base: Path) -> bool:
    """Whether a folder of ours in this one is not too deep for Ray's sockets."""
    return len(str(base / "relusweep-12345678" / RAYS)) <= _LONGEST_FOLDER


def _remove_abandoned(base: Path) -> None:
    for left in base.glob("relusweep-*"):
        try:
            if left.stat().st_uid != os.getuid() or time.time() - left.stat().st_mtime < _ABANDONED_SECONDS:
                continue
            with open(left / "lock", "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        except OSError:
            continue  # it is in use
