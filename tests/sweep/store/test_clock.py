import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relusweep.sweep.store import clock


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_looks", {})


def test_the_time_is_that_of_files_that_are_written_now(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert abs(clock.now(tmp_path) - (tmp_path / "file").stat().st_mtime) < 0.5
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_clock_of_ours_that_is_wrong_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = time.time()
    monkeypatch.setattr(time, "time", lambda: right + 180)
    assert abs(clock.now(tmp_path) - right) < 5


def test_the_file_system_is_asked_now_and_then_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(clock, "_asked", lambda folder: asked.append(folder) or 1000.0)
    first = clock.now(tmp_path)
    assert 0 <= clock.now(tmp_path) - first < 1
    assert asked == [tmp_path]
    monkeypatch.setattr(clock, "_SECONDS", 0.0)
    clock.now(tmp_path)
    assert len(asked) == 2


def test_our_own_time_serves_where_nothing_can_be_written(tmp_path: Path) -> None:
    assert abs(clock.now(tmp_path / "none") - time.time()) < 5
    code = "import sys, time; from pathlib import Path; from relusweep.sweep.store import clock\n"
    code += "assert abs(clock.now(Path(sys.argv[1])) - time.time()) < 5"
    mount = 'mount --bind -o ro "$3" "$3" && exec "$0" "$1" "$2" "$3"'
    command = ["unshare", "--mount", "sh", "-c", mount, sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, check=False, env=os.environ).returncode == 0
