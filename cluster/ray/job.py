"""A sweep on a Ray cluster of its own, made of the nodes of a job of SLURM: for `slurm/ray_cluster.sbatch`.

One srun starts `cluster.ray.node` on every node and is the only thing between them and us: closing its input ends Ray
everywhere, and its output reports what becomes of the nodes. The sweep itself is `relusweep run … --on ray`, and its
exit code is the job's. On a signal it writes its states, and the job asks to be queued again. One that is started again
and again without getting any further gives up.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relusweep.cluster.backend import BackendError
from relusweep.cluster.host.ports import free_ports
from relusweep.cluster.host.signals import answer
from relusweep.cluster.ray.cluster import dashboard, settle
from relusweep.cluster.ray.restarts import JobRestarts
from relusweep.cluster.ray.token import ask_for_token
from relusweep.cluster.slurm.scheduler import node_names, requeue_this_job
from relusweep.sweep.spec import Spec
from relusweep.sweep.spec_error import SpecError
from relusweep.sweep.store.store import Store, StoreError

READY_SECONDS = 300.0  # to read Python and Ray on all nodes at once from one disk takes a while
_END_SECONDS = 10.0  # for nodes to take Ray down, before srun ends them
_LOOK_SECONDS = 0.05
_FAILED, _MISUSED, _STOPPED = 1, 2, 130  # exit codes, as those of `relusweep run`


class Nodes:
    """The nodes of this job, with Ray on them from `with` to its end."""

    def __init__(self, say: Callable[[str], None], stop: Callable[[], None]) -> None:
        self.say, self.stop = say, stop
        self.names = node_names(os.environ["SLURM_JOB_NODELIST"])
        self.up: dict[str, str] = {}  # addresses
        self.ended: dict[str, str] = {}  # last lines
        self.port, self.dashboard_port = free_ports(2)

    def __enter__(self) -> "Nodes":
        given = os.environ.get("SLURM_CPUS_PER_TASK")  # srun does not take it over from sbatch since 22.05
        command = ["srun", "--ntasks-per-node=1", f"--ntasks={len(self.names)}", "--no-kill"]
        command += ["--kill-on-bad-exit=0", "--wait=0", f"--cpus-per-task={given}" if given else "--cpu-bind=none"]
        command += [sys.executable, "-P", "-m", "relusweep.cluster.ray.node", str(self.port), str(self.dashboard_port)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.step = subprocess.Popen(command, text=True, start_new_session=True, **pipes)  # away from Ctrl-C
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.step.stdin is not None
        self.say = lambda _: None
        self.step.stdin.close()
        try:
            self.step.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:  # a node that hangs
            self.step.terminate()
            self.step.wait()

    def wait(self, stopped: Callable[[], bool]) -> None:
        """Wait until Ray is up on every node.

        Raises:
            BackendError: if it cannot be, or is not in time.
        """
        end = time.monotonic() + READY_SECONDS
        while (missing := [name for name in self.names if name not in self.up]) and not stopped():
            if self.ended:
                name, lines = next(iter(self.ended.items()))
                raise BackendError(f"{name}: Ray cannot be started there; expected it to stay. Last lines:\n{lines}")
            if self.step.poll() is not None:
                raise BackendError(f"srun ended with exit code {self.step.returncode}; expected Ray. See above, why.")
            if time.monotonic() > end:
                raise BackendError(
                    f"{', '.join(missing)}: no Ray within {READY_SECONDS:g} s; expected it on all {len(self.names)} "
                    f"nodes of the job. Leave {'it' if len(missing) == 1 else 'them'} out: "
                    f"sbatch --exclude={','.join(missing)}"
                )
            time.sleep(_LOOK_SECONDS)

    @property
    def head(self) -> str:
        """Name of the node where the head is, and we are."""
        return self.names[0]

    @property
    def address(self) -> str:
        """Where the cluster is."""
        return f"{self.up[self.head]}:{self.port}"

    @property
    def dashboard(self) -> str:
        """Where its dashboard is."""
        return f"{self.up[self.head]}:{self.dashboard_port}"

    def _listen(self) -> None:
        assert self.step.stdout is not None
        for line in self.step.stdout:
            try:
                event: dict[str, Any] = json.loads(line)
                name = event.pop("node")
            except (ValueError, AttributeError, KeyError):
                print(line, end="", flush=True)  # not ours: a prologue's, say
                continue
            if "signal" in event:
                self.stop()
            elif "up" in event:
                if name in self.up:
                    self.say(f"{name}: Ray is up again.")
                self.up[name] = event["up"]
            elif event["again"]:
                self.say(f"{name}: Ray has died there, and is started again: {event['ended']}")
            else:
                self.ended[name] = event["ended"]
                if name in self.up:
                    self.say(f"{name}: Ray has died there, and will not be restarted: {event['ended']}")


class Sweep:
    """`relusweep run … --on ray`, in a process of its own, which gets a signal once and early enough."""

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self.is_stopped = False

    def stop(self, *_: object) -> None:
        """Have the states written, and nothing begun."""
        self.is_stopped = True
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def run(self) -> int:
        """Run it; return its exit code."""
        command = [sys.executable, "-P", "-m", "relusweep", "run", *self.arguments, "--on", "ray"]
        self.process = subprocess.Popen(command, start_new_session=True)
        if self.is_stopped:
            self.stop()
        return self.process.wait()


def main(arguments: list[str]) -> int:
    """Make the cluster, run the sweep on it, end the cluster; return the sweep's exit code."""
    try:
        return _run(arguments, _check(arguments))
    except (BackendError, SpecError, StoreError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return _FAILED if isinstance(error, BackendError) else _MISUSED


def _check(arguments: list[str]) -> Path:
    """Refuse early what would be refused when all nodes are up; return where the sweep is recorded."""
    if "SLURM_JOB_ID" not in os.environ:
        raise BackendError("no SLURM_JOB_ID: got no job of SLURM; expected one. sbatch slurm/ray_cluster.sbatch SPEC")
    if not arguments or arguments[0].startswith("-"):
        got = " ".join(arguments) or "nothing"
        raise BackendError(f"got {got}; expected SPEC first, then options of relusweep run.")
    options = argparse.ArgumentParser(prog="relusweep run", usage=argparse.SUPPRESS, add_help=False, allow_abbrev=False)
    options.add_argument("--out", type=Path, default=Path("results", Spec.read(arguments[0]).name))
    out = options.parse_known_args(arguments[1:])[0].out
    Store.at(out)
    return out


def _run(arguments: list[str], out: Path) -> int:
    sweep, restarts, code = Sweep(arguments), JobRestarts(os.environ["SLURM_JOB_ID"], out), _STOPPED
    answer(sweep.stop)
    settle()
    os.environ.pop("RAY_ADDRESS", None)
    try:
        with _token() as token:
            restarts.begin()
            with Nodes(_say, sweep.stop) as nodes:
                restarts.compare()  # while Ray starts
                nodes.wait(lambda: sweep.is_stopped)
                if not sweep.is_stopped:
                    os.environ["RAY_ADDRESS"] = nodes.address
                    _say(f"Ray on {', '.join(nodes.names)}: RAY_ADDRESS={nodes.address} RAY_AUTH_TOKEN_PATH={token}")
                    _say(f"Ray dashboard: {dashboard(nodes.dashboard)} It asks for the token in {token}")
                    code = sweep.run()
    finally:
        if not (sweep.is_stopped and code):
            restarts.forget()
    if sweep.is_stopped and code != 0 and requeue_this_job():
        _say("Queued again.")
    return code if code >= 0 else _FAILED


@contextmanager
def _token() -> Iterator[Path]:
    """Make the token's file where the job was submitted: a person who watches needs it, and all nodes see it."""
    path = Path(f"relusweep-ray-{os.environ['SLURM_JOB_ID']}.token").absolute()
    try:
        ask_for_token(path)
    except OSError as error:
        raise BackendError(f"{path}: {error.strerror}; expected a folder to write to. Use sbatch --chdir=DIR") from None
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _say(message: str) -> None:
    print(message, flush=True)
