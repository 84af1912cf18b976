"""Forks: workers come up however the launcher was started, see its environment, and obey when their origin is gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.cluster.local import forks
from relusweep.cluster.local.forks import CONTEXT, adopt, load_ahead
from relusweep.cluster.ray.folder import folder as ray_folder
from relusweep.sweep.store.store import Store


@pytest.mark.slow
def test_launcher_that_is_a_script_without_a_guard_trains_all(tiny: Callable[..., Path], tmp_path: Path) -> None:
    command = ["run", str(tiny()), "--out", str(tmp_path / "store"), "--workers", "2"]
    script = tmp_path / "script.py"
    script.write_text(f"from relusweep.cli import main\nassert main({command!r}) == 0\n", encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(Store(tmp_path / "store").recorded()) == 4


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 0.8, 1.5])
def test_interrupt_while_everything_is_loading_ends_it_and_the_origin_says_nothing(
    seconds: float, launch: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    process = launch("run", tiny(max_steps=100_000_000, tolerance=0.0), "--out", tmp_path / "store", "--workers", 2)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "forkserver" not in err


def test_worker_has_the_environment_that_its_launcher_has_now(monkeypatch: pytest.MonkeyPatch) -> None:
    load_ahead()
    monkeypatch.setenv("RELUSWEEP_LATE", "said")
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_tell, args=(theirs, dict(os.environ)))
    process.start()
    assert ours.poll(30)
    assert ours.recv() == "said"
    process.join()


def _tell(pipe: Any, environment: dict[str, str]) -> None:
    adopt(environment)
    pipe.send(os.environ.get("RELUSWEEP_LATE"))


@pytest.mark.skipif(os.geteuid() != 0, reason="wants a folder of another user's")
def test_sockets_lie_in_no_folder_that_another_user_could_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "ours").mkdir(parents=True)
    os.chown(theirs, 65534, 65534)
    made: list[str | None] = []
    monkeypatch.setattr(forks.util, "get_temp_dir", lambda: made.append(forks.tempfile.tempdir))
    for folder in (theirs / "ours", tmp_path):
        monkeypatch.setattr(forks.tempfile, "tempdir", str(folder))
        monkeypatch.setattr(forks, "_LONGEST", 1000)
        forks._make_folder_of_sockets()
        assert forks.tempfile.tempdir == str(folder)
    assert made == ["/tmp", str(tmp_path)]
    monkeypatch.setattr(forks.tempfile, "tempdir", str(theirs / "ours"))
    with ray_folder() as home:
        assert home.parent == Path("/tmp")
