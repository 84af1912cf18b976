"""A command that drives Ray says in one line what happened when Ray ends its driver, and passes on all else."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from relusweep.sweep.store.store import Store
from tests.cluster.ray.cluster import ROOT

_LOST = (
    "BackendError: --on ray: the process that drives Ray was ended from outside ({}), as when the cluster is lost; "
    "expected it to stay until the sweep is done. See above what Ray printed. "
    "The same command goes on from the last states.\n"
)
_CODE = """
import os, signal, sys, time
from relusweep.cluster.host.signals import answer, answer_first
answer_first()
from relusweep.cluster.ray.guard import guard
from relusweep.sweep.errors import RelusweepError
try:
    guard()
except RelusweepError as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(2)
came = []
answer(lambda number, _: came.append(number))
"""


def guarded(end: str) -> "subprocess.Popen[str]":
    """Start a command whose child ends so."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", _CODE + end], cwd=ROOT, start_new_session=True, **pipes)


@pytest.mark.parametrize(
    ("end", "code", "err"),
    [
        ("sys.exit(0)", 0, ""),
        ("sys.exit(130)", 130, ""),
        ("os._exit(1)", 2, _LOST.format("exit code 1")),
        ("os.kill(os.getpid(), signal.SIGABRT)", 2, _LOST.format("killed by SIGABRT")),
    ],
)
def test_end_that_is_the_childs_own_is_passed_on_and_any_other_is_one_line(end: str, code: int, err: str) -> None:
    started = guarded(end)
    assert (started.communicate()[1], started.returncode) == (err, code)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
@pytest.mark.parametrize("end", ["sys.exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_the_child_leaves_behind_ends_with_the_command(end: str) -> None:
    """As the helpers of Ray's dashboard, which would go minutes later."""
    child = "sh = subprocess.Popen(['sh', '-c', 'setsid sleep 60 & echo $!'], stdout=subprocess.PIPE, text=True)\n"
    started = guarded(f"import subprocess\n{child}print(sh.stdout.readline(), flush=True)\n{end}")
    left = int(started.communicate()[0])
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE


def test_signal_to_the_command_and_its_group_reaches_the_child_once() -> None:
    started = guarded("print(os.getpid(), flush=True)\nwhile not came: time.sleep(0.01)\ntime.sleep(1)\nprint(*came)")
    assert started.stdout is not None
    assert int(started.stdout.readline()) != started.pid
    os.killpg(started.pid, signal.SIGTERM)
    assert started.communicate() == (f"{signal.SIGTERM:d}\n", "")
    assert started.returncode == 0


def test_command_that_is_killed_takes_its_child_with_it(until: Callable[..., Any]) -> None:
    started = guarded("print(os.getpid(), flush=True)\ntime.sleep(600)")
    assert started.stdout is not None
    child = psutil.Process(int(started.stdout.readline()))
    os.kill(started.pid, signal.SIGKILL)
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    started.communicate()


def test_lost_cluster_is_one_line_of_ours_and_the_same_command_goes_on(
    launch: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "1")
    spec, store = tiny(max_steps=3_000_000, tolerance=0.0), tmp_path / "store"
    swept = launch("run", spec, "--on", "ray", "--workers", 1, "--out", store, "--checkpoint-minutes", 0)
    until(lambda: Store(store).checkpoints())
    below = psutil.Process(swept.pid).children(recursive=True)
    (gcs,) = [each for each in below if each.name() == "gcs_server"]
    gcs.kill()
    _, err = swept.communicate()
    assert swept.returncode == 2, err
    assert "Traceback" not in err
    assert err.endswith(_LOST.format("exit code 1"))
    swept = launch("run", spec, "--workers", 1, "--out", store)
    assert swept.communicate()[1] == ""
    assert len(Store.open(store).recorded()) == 4
    assert set(Store.open(store).read("runs", ["backend"])[0]["backend"].to_pylist()) == {"local"}
