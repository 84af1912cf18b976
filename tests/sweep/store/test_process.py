import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relusweep.sweep.store import process

ASK = """
import json, sys
from relusweep.sweep.store import process
print(json.dumps([process.is_alive(json.loads(sys.argv[1])), process.identity(), process.name(process.identity())]))
"""


def asked(named: dict[str, Any], *wrapped: str) -> tuple[bool | None, dict[str, Any], str]:
    """What another process says of a named one, of itself, and how it is called."""
    command = [*wrapped, sys.executable, "-c", ASK, json.dumps(named)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


@pytest.fixture
def child() -> Iterator[Callable[[], tuple[dict[str, Any], "subprocess.Popen[str]"]]]:
    started = []

    def start() -> tuple[dict[str, Any], "subprocess.Popen[str]"]:
        code = "import json; from relusweep.sweep.store import process; print(json.dumps(process.identity())); input()"
        new = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(new)
        assert new.stdout
        return json.loads(new.stdout.readline()), new

    yield start
    for each in started:
        each.kill()
        each.communicate()


def test_a_process_is_alive_until_it_is_killed_even_while_its_parent_has_not_looked(child: Callable[[], Any]) -> None:
    named, started = child()
    assert process.is_alive(named)
    assert asked(named)[0]
    os.kill(started.pid, signal.SIGSTOP)
    assert process.is_alive(named), "it may go on"
    started.kill()
    os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
    assert process.is_alive(named) is False
    started.wait()
    assert process.is_alive(named) is False


def test_a_number_that_was_given_to_another_process_is_not_the_one_that_had_it() -> None:
    mine = process.identity()
    assert process.is_alive(mine)
    assert process.is_alive(mine | {"ticks": mine["ticks"] - 1}) is False
    assert process.is_alive({name: value for name, value in mine.items() if name != "ticks"}) is False


@pytest.mark.parametrize("other", [{"kernel": "another boot"}, {"kernel": None}, {"kernel": 5}])
def test_of_a_process_of_another_kernel_nothing_is_known(other: dict[str, Any]) -> None:
    assert process.is_alive(process.identity() | other) is None


def test_a_container_on_the_same_host_can_say_nothing_of_us_nor_we_of_it() -> None:
    mine = process.identity()
    answer, theirs, name = asked(mine, "unshare", "--pid", "--fork", "--mount-proc")
    assert answer is None
    assert theirs["host"] == mine["host"]
    assert process.is_alive(theirs) is None
    assert name != process.name(mine)
    assert name.rpartition("-")[2] == str(theirs["pid"])


def test_a_namespace_that_sees_the_numbers_of_another_compares_none() -> None:
    answer, theirs, _ = asked(process.identity(), "unshare", "--pid", "--fork")
    assert (answer, theirs["kernel"]) == (None, None)


def test_a_step_of_the_clock_makes_no_one_another(tmp_path: Path) -> None:
    """The kernel then says that it was booted at another time; here a file in place of its own says so."""
    mine, stat = process.identity(), Path("/proc/stat").read_text().splitlines()
    moved = [f"btime {int(line.split()[1]) + 5}" if line.startswith("btime") else line for line in stat]
    (tmp_path / "stat").write_text("\n".join(moved) + "\n")
    mount = f'mount --bind {tmp_path / "stat"} /proc/stat && exec "$@"'
    answer, theirs, _ = asked(mine, "unshare", "--mount", "sh", "-c", mount, "sh")
    assert theirs["started"] - mine["started"] > 4, "the clock was stepped"
    assert answer


def test_a_process_that_proc_hides_may_be_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, state = process.identity(), process._state

    def hidden(pid: int) -> tuple[str, int]:
        if pid == 1:
            raise FileNotFoundError(pid)
        return state(pid)

    monkeypatch.setattr(process, "_state", hidden)
    assert process.is_alive(mine | {"pid": 1}) is None
    assert process.is_alive(mine)


def test_without_proc_the_host_and_the_start_in_seconds_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_kernel", lambda: None)
    mine = process.identity()
    assert "ticks" not in mine
    assert process.is_alive(mine)
    assert process.is_alive(mine | {"started": mine["started"] - 100}) is False
    assert process.is_alive(mine | {"host": "another"}) is None


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        ("b00t pid:[4026531836] time:[4026531834]", "node1-12"),
        ("b00t pid:[4026532999] time:[4026531834]", "node1.4026532999-12"),
        ("b00t pid:[4026532999]", "node1.4026532999-12"),
        (None, "node1-12"),
    ],
)
def test_workers_of_two_containers_on_one_host_have_two_names(kernel: str | None, name: str) -> None:
    assert process.name({"host": "node1", "pid": 12, "kernel": kernel}) == name
