"""Terminal: a display that cannot be written ends no training, and a terminal that is closed loses nothing."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.cli.terminal import seen
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store

LONG: dict[str, Any] = {"max_steps": 10**9, "tolerance": 0.0}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "relusweep", *map(str, arguments)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_training_ends_though_the_disk_behind_its_log_is_full(
    tiny: Callable[..., Path], tmp_path: Path, workers: int
) -> None:
    store = tmp_path / "store"
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            command("run", tiny(), "--workers", workers, "--out", store), stdout=full, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(Store(store).recorded()) == 4


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("closed", [(1,), (1, 2), (0, 1, 2)], ids=str)
def test_training_ends_though_there_is_nowhere_to_print(
    tiny: Callable[..., Path], tmp_path: Path, closed: tuple[int, ...]
) -> None:
    command = [sys.executable, "-m", "relusweep", "run", tiny(), "--out", tmp_path / "store", "--workers", "1"]
    done = subprocess.run(command, preexec_fn=lambda: [*map(os.close, closed)] and None, check=False)
    assert done.returncode == 0
    assert len(Store(tmp_path / "store").recorded()) == 4


def test_surroundings_of_other_programs_change_nothing(tiny: Callable[..., Path], tmp_path: Path) -> None:
    """Colours that are asked for in logs, numba without its compiler, a temporary folder too deep for sockets."""
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    others = {"FORCE_COLOR": "1", "NUMBA_DISABLE_JIT": "1", "TMPDIR": str(deep)}
    ran = subprocess.run(
        command("run", tiny(), "--workers", 2, "--out", tmp_path / "store"), capture_output=True, text=True, check=False,
        env=os.environ | others,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\x1b" not in ran.stdout
    assert "4/4 runs" in ran.stdout


@pytest.mark.slow
def test_letters_that_a_log_cannot_hold_are_replaced(tiny: Callable[..., Path], tmp_path: Path) -> None:
    ran = subprocess.run(
        command("run", tiny(), "--workers", 1, "--out", tmp_path / "store"), capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "4/4 runs ? 0 converged, 4 at budget, 0 diverged\n" in ran.stdout


@pytest.fixture
def unread() -> Callable[..., tuple[int, str]]:
    """Run a command whose output is closed when something has come true; give its exit code and what it says then."""

    def call(*arguments: object, when: Callable[[], object]) -> tuple[int, str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command(*arguments), **pipes) as ran:
            assert ran.stdout
            assert ran.stderr
            when()
            ran.stdout.close()
            return ran.wait(60), ran.stderr.read()

    return call


@pytest.mark.slow
def test_sweep_whose_reader_goes_away_stops_with_its_states_kept(
    tiny: Callable[..., Path], tmp_path: Path, until: Callable[..., Any], unread: Callable[..., tuple[int, str]]
) -> None:
    store = tmp_path / "store"

    def trains() -> None:
        until(lambda: list((store / "progress").glob("*.json")))

    stopped = "relusweep: stopped; what was in training is kept. The same command goes on from there.\n"
    assert unread("run", tiny(**LONG), "--workers", 1, "--out", store, when=trains) == (130, stopped)
    assert list((store / "checkpoints").iterdir())


def test_command_whose_reader_goes_away_ends_quietly(store: Path, unread: Callable[..., tuple[int, str]]) -> None:
    assert unread("status", store, when=lambda: None) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_sweep_in_a_terminal_that_is_closed_keeps_its_states(
    tiny: Callable[..., Path], tmp_path: Path, workers: int, until: Callable[..., Any]
) -> None:
    store, spec = tmp_path / "store", tiny(**LONG)
    child, terminal = pty.fork()
    if not child:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored below nohup
        arguments = command("run", spec, "--workers", workers, "--out", store)
        os.execv(arguments[0], arguments)
    os.set_blocking(terminal, False)

    def trains() -> bool:
        with contextlib.suppress(BlockingIOError):
            os.read(terminal, 65536)
        return bool(list((store / "progress").glob("*.json")))

    until(trains)
    time.sleep(1)
    os.close(terminal)
    ended = until(lambda: (found := os.waitpid(child, os.WNOHANG))[0] and found, 60)
    assert os.waitstatus_to_exitcode(ended[1]) == 130
    assert list((store / "checkpoints").iterdir())


def test_letters_that_a_terminal_obeys_are_named() -> None:
    assert seen("a\x1b[31m\x07\u202eb\x9b2J") == "a\\x1b[31m\\x07\\u202eb\\x9b2J"
    assert seen("λ · é …\n\t") == "λ · é …\n\t"


def test_what_a_store_says_cannot_move_the_cursor(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    store = Store.create(tmp_path / "store")
    store.write_spec(tiny().read_text(encoding="utf-8"))
    store.write_failure(
        "\x1b[2Jp", {"pack_id": "\x1b[2Jp", "run_ids": [Spec.read(tiny()).expand().__next__().id], "error": "\x1b]0;x\x07",
        "trace": "", "attempts": 1, "host": "\x9b31m", "time": 0.0},
    )  # fmt: skip
    said = cli("status", store.path)
    assert "pack \\x1b[2Jp of 1 runs failed on \\x9b31m: \\x1b]0;x\\x07" in said.out
    strange = tmp_path / "a\nb\x1b[31m"
    said = cli("status", strange)
    assert said.err.count("\n") == 1
    assert r"a\nb\x1b[31m: no such directory" in said.err
