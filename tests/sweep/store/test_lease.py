import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from relusweep.sweep.store import lease, process
from relusweep.sweep.store.lease import (
    EXPIRY_SECONDS,
    RENEWAL_SECONDS,
    Lease,
    active_packs,
    is_shared,
    leased,
    leased_runs,
    remove_expired,
)
from relusweep.sweep.store.store import Store, StoreError
from tests.sweep.store.conftest import rows

A, B, C = rows(0, 1, 2)
ELSEWHERE = {"host": "another-host", "pid": 1, "kernel": "another"}
HOLD = """
import sys
from relusweep.sweep.store.lease import leased
from relusweep.sweep.store.store import Store
with leased(Store.open(sys.argv[1]), "pack", ["a", "b"]) as mine:
    print(bool(mine), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def write_lease(store: Store) -> Callable[..., Path]:
    """Leave a lease as another process would have, so many seconds ago."""

    def write(age: float = 0.0, *, runs: tuple[str, ...] = ("a", "b"), **owner: Any) -> Path:
        path = store.path / "claims" / "pack.json"
        path.write_text(json.dumps(process.identity() | owner | {"runs": runs}))
        os.utime(path, (time.time() - age,) * 2)
        return path

    return write


def files(store: Store) -> list[str]:
    """What lies there besides the folders of drafts of living leases, each of which has one."""
    return [path.name for path in (store.path / "claims").iterdir() if path.suffix != ".drafts"]


def drafts(store: Store) -> list[Path]:
    return list((store.path / "claims").glob(".*.drafts"))


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
    write_lease(ticks=process.identity()["ticks"] - 100)
    assert leased_runs(store) == set()
    with leased(store, "pack", ["a"]) as mine:
        assert mine


@pytest.mark.parametrize(("age", "expired"), [(0.0, False), (EXPIRY_SECONDS - 10, False), (EXPIRY_SECONDS + 10, True)])
def test_lease_of_another_host_expires_unless_it_is_renewed(
    store: Store, write_lease: Callable[..., Path], age: float, expired: bool
) -> None:
    write_lease(age, **ELSEWHERE)
    assert leased_runs(store) == (set() if expired else {"a", "b"})
    with leased(store, "pack", ["a", "b"]) as mine:
        assert bool(mine) is expired


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"host": "x"}', "\udcff", "[" * 10**5])
def test_broken_lease_has_expired_unless_it_may_be_half_written(store: Store, content: str) -> None:
    path = store.path / "claims" / "pack.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    assert leased_runs(store) == set()
    with leased(store, "pack", ["a"]) as mine:
        assert mine is None
    os.utime(path, (time.time() - RENEWAL_SECONDS - 5,) * 2)
    with leased(store, "pack", ["a"]) as mine:
        assert mine


def _take(path: Path, gate: str, answers: str, number: int) -> None:
    while not os.path.exists(gate):
        pass
    with leased(Store(path), "pack", ["a"]) as mine:
        Path(answers, f"{number}-{bool(mine)}").touch()
        while len(os.listdir(answers)) < 4:  # hold it until all have tried
            time.sleep(0.001)


@pytest.mark.parametrize("trial", range(3))
def test_of_several_takeovers_of_an_expired_lease_one_succeeds(
    store: Store, write_lease: Callable[..., Path], tmp_path: Path, trial: int
) -> None:
    write_lease(10 * EXPIRY_SECONDS, **ELSEWHERE)
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
    write_lease(10 * EXPIRY_SECONDS, **ELSEWHERE)
    take_over = lease._take_over

    def late(path: Path, *rest: Any) -> bool:
        write_lease(host="a-third-host", kernel="third")
        return take_over(path, *rest)

    monkeypatch.setattr(lease, "_take_over", late)
    with leased(store, "pack", ["a"]) as mine:
        assert not mine
    assert files(store) == ["pack.json"]
    assert json.loads((store.path / "claims" / "pack.json").read_text())["host"] == "a-third-host"


def test_takeover_that_is_killed_half_way_prevents_no_later_one(store: Store, write_lease: Callable[..., Path]) -> None:
    write_lease(10 * EXPIRY_SECONDS, **ELSEWHERE)

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
    write_lease(age, **ELSEWHERE)
    remove_expired(store)
    assert files(store) == left


def test_lease_that_was_taken_over_is_not_given_up_by_its_old_owner(
    store: Store, write_lease: Callable[..., Path]
) -> None:
    with leased(store, "pack", ["a"]):
        write_lease(**ELSEWHERE)
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


def test_lease_of_an_earlier_version_is_judged_by_its_renewal_alone(
    store: Store, write_lease: Callable[..., Path]
) -> None:
    path = write_lease()
    known = json.loads(path.read_text())
    path.write_text(json.dumps({name: known[name] for name in ("host", "pid", "started", "runs")}))
    assert leased_runs(store) == {"a", "b"}
    os.utime(path, (time.time() - EXPIRY_SECONDS - 10,) * 2)
    assert leased_runs(store) == set()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[Store], AbstractContextManager[Lease | None]]:
    """Hold a lease as a process would whose life cannot be seen from here."""
    here = process.identity

    @contextmanager
    def hold(store: Store) -> Iterator[Lease | None]:
        monkeypatch.setattr(process, "identity", lambda: here() | ELSEWHERE)
        with leased(store, "theirs", [A["run_id"], B["run_id"]]) as theirs:
            monkeypatch.setattr(process, "identity", here)
            yield theirs

    return hold


def test_who_stood_still_for_longer_than_his_lease_can_record_nothing(
    store: Store, elsewhere: Callable[[Store], AbstractContextManager[Lease | None]]
) -> None:
    with elsewhere(store) as theirs:
        assert theirs
        assert not theirs.is_lost
        os.utime(theirs.path, (time.time() - EXPIRY_SECONDS - 10,) * 2)
        with leased(store, "ours", [B["run_id"], C["run_id"]]) as ours:
            assert ours
            assert not is_shared(store, "ours", {B["run_id"], C["run_id"]})
            assert theirs.is_lost
            assert drafts(store) == [ours.drafts]
            with pytest.raises(StoreError, match="No such file"):
                store.write("theirs", {"runs": [A, B]}, {}, theirs.drafts)
            store.write("ours", {"runs": [B, C]}, {}, ours.drafts)
    assert set(store.recorded()) == {B["run_id"], C["run_id"]}
    assert store.ledger().doubled() == 0
    assert files(store) == []
    assert drafts(store) == []


def test_draft_that_was_written_before_the_takeover_is_not_recorded_after_it(
    store: Store, elsewhere: Callable[[Store], AbstractContextManager[Lease | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, stood_still = os.replace, []

    def late(source: str | Path, target: str | Path) -> None:
        if Path(target).parent.name == "runs" and not stood_still:
            stood_still.append(source)
            assert Path(source).stat().st_size > 0
            os.utime(theirs.path, (time.time() - EXPIRY_SECONDS - 10,) * 2)
            assert not is_shared(store, "ours", {B["run_id"]})
        replace(source, target)

    monkeypatch.setattr(os, "replace", late)
    with elsewhere(store) as theirs:
        assert theirs
        with pytest.raises(StoreError, match="No such file"):
            store.write("theirs", {"runs": [A, B]}, {}, theirs.drafts)
    assert stood_still
    assert store.parts() == []


@pytest.mark.parametrize(
    ("runs", "age", "shared"), [(("a", "b"), 0, True), (("a", "b"), 10**6, False), (("c",), 0, False)]
)
def test_runs_are_shared_with_active_leases_of_other_packs(
    store: Store, write_lease: Callable[..., Path], runs: tuple[str, ...], age: float, shared: bool
) -> None:
    write_lease(age, runs=runs, **ELSEWHERE)
    assert is_shared(store, "ours", {"a"}) is shared
    assert not is_shared(store, "pack", {"a"})


def test_lease_that_is_lost_is_renewed_no_longer_and_one_that_cannot_be_read_for_a_moment_is(
    store: Store, write_lease: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.01)
    refused = iter([OSError(errno.ESTALE, "Stale file handle"), OSError(errno.EIO, "Input/output error")])
    utime = os.utime

    def refusing(*given: Any, **named: Any) -> None:
        if error := next(refused, None):
            raise error
        utime(*given, **named)

    monkeypatch.setattr(os, "utime", refusing)
    with leased(store, "pack", ["a"]) as mine:
        assert mine
        time.sleep(0.2)
        assert next(refused, None) is None
        assert not mine.over.is_set()
        path = write_lease(1000, **ELSEWHERE)
        assert mine.over.wait(5)
        before = path.stat().st_mtime
        time.sleep(0.05)
        assert path.stat().st_mtime == before


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_file_systems_without_hard_links_will_do(store: Store, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    with leased(store, "pack", ["a"]) as mine:
        assert mine
        assert leased_runs(store) == {"a"}
        with leased(store, "pack", ["a"]) as second:
            assert second is None
    assert files(store) == []


@pytest.mark.slow
def test_lease_that_the_file_system_does_not_show_is_not_taken_over(
    store: Store, write_lease: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_lease(10 * EXPIRY_SECONDS, **ELSEWHERE)
    read = Path.read_bytes

    def refuse(self: Path) -> bytes:
        if self == path:
            raise OSError(errno.EACCES, "Permission denied")
        return read(self)

    monkeypatch.setattr(lease, "content_of", refuse)
    with pytest.raises(StoreError, match="permission denied"), leased(store, "pack", ["a"]):
        pytest.fail("leased what could not be read")
    with pytest.raises(StoreError, match="permission denied"):
        active_packs(store)


def test_drafts_without_a_lease_are_removed_after_an_hour(store: Store) -> None:
    old, young = (store.path / "claims" / f".pack.{token}.drafts" for token in ("01234567", "89abcdef"))
    for folder in (old, young):
        folder.mkdir()
        (folder / ".pack-pack.parquet.0.tmp").write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    with leased(store, "another", ["a"]) as mine:
        assert mine
        os.utime(mine.drafts, (time.time() - 7200,) * 2)
        remove_expired(store)
        assert not mine.is_lost
    assert drafts(store) == [young]


def test_takeover_of_a_damaged_lease_leaves_its_owner_nothing_to_record(
    store: Store, elsewhere: Callable[[Store], AbstractContextManager[Lease | None]]
) -> None:
    with elsewhere(store) as theirs:
        assert theirs
        theirs.path.write_bytes(theirs.content[:20])
        os.utime(theirs.path, (time.time() - RENEWAL_SECONDS - 5,) * 2)
        with leased(store, "theirs", ["a"]) as ours:
            assert ours
            assert theirs.is_lost
            assert drafts(store) == [ours.drafts]
            assert not ours.is_lost


@pytest.mark.parametrize(
    "changed",
    [{"pid": 10**30}, {"pid": -1}, {"pid": 2**31}, {"runs": [["a"]]}, {"runs": [None]}, {"started": float("nan")},
     {"kernel": "x"}, {"kernel": 3}, {"host": "\x1b[31m\n"}],
)  # fmt: skip
def test_lease_that_no_one_of_ours_wrote_stops_no_command(tmp_path: Path, changed: dict[str, Any]) -> None:
    store = Store.create(tmp_path / "store")
    path = store.path / "claims" / "p.json"
    for identity in (process.identity(), {"host": "elsewhere", "pid": 1, "started": 0.0}):
        path.write_text(json.dumps(identity | {"runs": []} | changed))
        assert leased_runs(store) <= {"a"}
        assert len(active_packs(store)) <= 1
        os.utime(path, (0, 0))
        remove_expired(store)


def test_lease_of_the_far_future_is_no_one_s(tmp_path: Path) -> None:
    """By a file of next year, a store would never be trained."""
    store = Store.create(tmp_path / "store")
    path = store.path / "claims" / "p.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": 0.0, "runs": ["a"]}))
    assert leased_runs(store) == {"a"}
    os.utime(path, (2**33, 2**33))
    assert leased_runs(store) == set()
    with leased(store, "p", ["a"]) as lease:
        assert lease is not None
