import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from relusweep.sweep.store import lease
from relusweep.sweep.store.lease import EXPIRY_SECONDS, leased, leased_runs, remove_expired
from relusweep.sweep.store.store import Store, StoreError

HOLD = """
import sys
from relusweep.sweep.store.lease import leased
from relusweep.sweep.store.store import Store
with leased(Store.open(sys.argv[1]), "pack", ["a", "b"]) as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def write_lease(store: Store) -> Callable[..., Path]:
    """Leave a lease as another process would have, so many seconds ago."""

    def write(host: str, pid: int, started: float, age: float = 0.0) -> Path:
        path = store.path / "claims" / "pack.json"
        path.write_text(json.dumps({"host": host, "pid": pid, "started": started, "runs": ["a", "b"]}))
        os.utime(path, (time.time() - age,) * 2)
        return path

    return write


def files(store: Store) -> list[str]:
    return [path.name for path in (store.path / "claims").iterdir()]


def test_lease_names_its_runs_while_it_is_held_and_is_gone_after(store: Store) -> None:
    with leased(store, "pack", iter(["a", "b"])) as mine:
        assert mine
        assert leased_runs(store) == {"a", "b"}
        assert files(store) == ["pack.json"]
    assert files(store) == []
    assert leased_runs(store) == set()


def test_lease_is_given_up_when_the_training_fails(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), leased(store, "pack", ["a"]):
        1 / 0  # noqa: B018
    assert files(store) == []


def test_active_lease_refuses_another_and_outlives_the_refusal(store: Store) -> None:
    with leased(store, "pack", ["a"]):
        with leased(store, "pack", ["a"]) as second:
            assert not second
        assert files(store) == ["pack.json"]
        assert leased_runs(store) == {"a"}


def test_lease_of_another_process_refuses_while_it_is_active_and_is_taken_over_when_it_was_killed(store: Store) -> None:
    command = [sys.executable, "-c", HOLD, str(store.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with leased(store, "pack", ["a", "b"]) as mine:
            assert not mine
        assert leased_runs(store) == {"a", "b"}
        holder.kill()
        holder.wait()
        assert files(store) == ["pack.json"]
        assert leased_runs(store) == set()
        with leased(store, "pack", ["a", "b"]) as mine:
            assert mine
    assert files(store) == []


def test_process_id_that_was_given_to_another_process_does_not_hold_a_lease(
    store: Store, write_lease: Callable[..., Path]
) -> None:
    write_lease(platform.node(), os.getpid(), psutil.Process().create_time() - 100)
    assert leased_runs(store) == set()
    with leased(store, "pack", ["a"]) as mine:
        assert mine


@pytest.mark.parametrize(("age", "expired"), [(0.0, False), (EXPIRY_SECONDS - 10, False), (EXPIRY_SECONDS + 10, True)])
def test_lease_of_another_host_expires_unless_it_is_renewed(
    store: Store, write_lease: Callable[..., Path], age: float, expired: bool
) -> None:
    write_lease("another-host", 1, 0.0, age)
    assert leased_runs(store) == (set() if expired else {"a", "b"})
    with leased(store, "pack", ["a", "b"]) as mine:
        assert mine is expired


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"host": "x"}'])
def test_lease_that_cannot_be_read_has_expired(store: Store, content: str) -> None:
    (store.path / "claims" / "pack.json").write_text(content)
    assert leased_runs(store) == set()
    with leased(store, "pack", ["a"]) as mine:
        assert mine


def _take(path: Path, gate: str, answers: str, number: int) -> None:
    while not os.path.exists(gate):
        pass
    with leased(Store(path), "pack", ["a"]) as mine:
        Path(answers, f"{number}-{mine}").touch()
        while len(os.listdir(answers)) < 4:  # hold it until all have tried
            time.sleep(0.001)


@pytest.mark.parametrize("trial", range(3))
def test_of_several_takeovers_of_an_expired_lease_one_succeeds(
    store: Store, write_lease: Callable[..., Path], tmp_path: Path, trial: int
) -> None:
    write_lease("another-host", 1, 0.0, 10 * EXPIRY_SECONDS)
    answers, gate = tmp_path / "answers", tmp_path / "gate"
    answers.mkdir()
    context = multiprocessing.get_context("fork")
    takers = [context.Process(target=_take, args=(store.path, str(gate), str(answers), n)) for n in range(4)]
    for taker in takers:
        taker.start()
    gate.touch()
    for taker in takers:
        taker.join(30)
    assert sorted(name.split("-")[1] for name in os.listdir(answers)) == ["False", "False", "False", "True"]
    assert files(store) == []


def test_lease_that_another_process_took_over_meanwhile_is_left_alone(
    store: Store, write_lease: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lease("another-host", 1, 0.0, 10 * EXPIRY_SECONDS)
    take_over = lease._take_over

    def late(path: Path, *rest: Any) -> bool:
        write_lease("a-third-host", 1, 0.0)
        return take_over(path, *rest)

    monkeypatch.setattr(lease, "_take_over", late)
    with leased(store, "pack", ["a"]) as mine:
        assert not mine
    assert files(store) == ["pack.json"]
    assert json.loads((store.path / "claims" / "pack.json").read_text())["host"] == "a-third-host"


def test_takeover_that_is_killed_half_way_prevents_no_later_one(store: Store, write_lease: Callable[..., Path]) -> None:
    write_lease("another-host", 1, 0.0, 10 * EXPIRY_SECONDS)

    def killed() -> None:
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        with leased(store, "pack", ["a"]):
            os._exit(0)

    taker = multiprocessing.get_context("fork").Process(target=killed)
    taker.start()
    taker.join(30)
    assert taker.exitcode == -signal.SIGKILL
    assert len(files(store)) == 3  # the lease, that of the takeover, what was to be the new lease
    with leased(store, "pack", ["a"]) as mine:
        assert mine
    assert [name for name in files(store) if name.endswith((".json", ".heir.tmp"))] == []


@pytest.mark.parametrize(("age", "left"), [(0.0, ["pack.json"]), (10 * EXPIRY_SECONDS, [])])
def test_leases_that_have_expired_are_removed(
    store: Store, write_lease: Callable[..., Path], age: float, left: list[str]
) -> None:
    write_lease("another-host", 1, 0.0, age)
    remove_expired(store)
    assert files(store) == left


def test_lease_that_was_taken_over_is_not_given_up_by_its_old_owner(
    store: Store, write_lease: Callable[..., Path]
) -> None:
    with leased(store, "pack", ["a"]):
        write_lease("another-host", 1, 0.0)
    assert files(store) == ["pack.json"]


def test_store_without_its_folder_of_leases_is_named(store: Store) -> None:
    (store.path / "claims").rmdir()
    with (
        pytest.raises(
            StoreError, match=r"claims/pack\.json: No such file or directory\. Correct it, then run the same"
        ),
        leased(store, "pack", ["a"]),
    ):
        pytest.fail("leased without a file")
