"""Worker: shows what it does, and records nothing that is not its own."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from relusweep.cluster import worker
from relusweep.cluster.backend import Assignment
from relusweep.cluster.progress import Snapshot, Watcher
from relusweep.cluster.worker import Worker
from relusweep.sweep.kernels.jit.program import user_cache
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store import lease
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store, StoreError
from relusweep.sweep.tally import Tally


@pytest.mark.slow
def test_worker_says_while_it_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    user_cache.cache_clear()
    store = Store.create(tmp_path / "store")
    run = Run(
        problem="sine", d=2, n=9, n_test=0, width=7, lr=0.1, tolerance=0.0, max_steps=1000
    )  # no other test's shape
    watcher, seen = Watcher(Tally(store, RunIds([run.id]))), list[Snapshot]()
    worker = Worker(
        Assignment(store.path, Measure(), "local", 60.0), torch.device("cpu"), lambda: seen.append(watcher.look())
    )
    assert worker.train(Pack((run,))).kind == "recorded"
    user_cache.cache_clear()
    assert (seen[0].training, seen[0].compiling) == (1, 1)
    assert 0 in [each.compiling for each in seen]  # and it is said that this is over
    assert watcher.look().recorded == {"budget": 1}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def pack() -> Pack:
    return Pack((Run(problem="sine", d=2, n=8, n_test=0, width=4, lr=0.1, tolerance=0.0, max_steps=100_000),))


def test_parts_for_which_memory_is_too_little_are_halved_until_one_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tuple(Run(problem="sine", n=4, n_test=0, width=2, lr=0.1, max_steps=1, seed=seed) for seed in range(7))
    execute, most = worker.execute, 2

    def greedy(pack: Pack, *given: Any, **named: Any) -> Any:
        if len(pack.runs) > most:
            raise MemoryError
        return execute(pack, *given, **named)

    monkeypatch.setattr(worker, "execute", greedy)
    trainer = Worker(Assignment(store.path, Measure(), "local", 60.0), torch.device("cpu"))
    outcomes = [*trainer.train_in_parts([Pack(runs[:3]), Pack(runs[3:5])])]
    assert [(each.kind, len(each.pack.runs)) for each in outcomes] == [("recorded", n) for n in (1, 2, 2)]
    most = 0
    (failed,) = trainer.train_in_parts([Pack(runs[5:]), Pack(runs[:5])])
    assert (failed.kind, failed.out_of_memory, failed.pack.runs) == ("failed", True, runs[5:6])


def take_over(store: Store, pack: Pack) -> None:
    """Do as another process does when a lease has expired."""
    path = store.path / "claims" / f"{pack.id}.json"
    for drafts in (store.path / "claims").glob(".*.drafts"):
        drafts.rmdir()
    path.write_text(path.read_text().replace('"pid": ', '"pid": 1'))


def test_worker_that_has_lost_its_lease_stops_training(
    store: Store, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.01)
    lost = threading.Event()

    def lose() -> bool:
        if not lost.is_set():
            take_over(store, pack)
            lost.set()
        return False

    worker = Worker(Assignment(store.path, Measure(), "local", 60.0), torch.device("cpu"), lose)
    assert worker.train(pack).kind == "elsewhere"
    assert worker.progress
    assert worker.progress.step < 100_000
    assert (store.progress(), store.checkpoints(), store.parts()) == ([], [], [])


def test_worker_that_loses_its_lease_before_it_records_records_nothing(
    store: Store, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Store.write

    def late(self: Store, *given: Any) -> None:
        take_over(store, pack)
        write(self, *given)

    monkeypatch.setattr(Store, "write", late)
    worker = Worker(Assignment(store.path, Measure(), "local", 60.0), torch.device("cpu"))
    assert worker.train(pack).kind == "elsewhere"
    assert store.parts() == []


def test_error_of_the_file_system_about_the_store_is_no_failure_of_the_pack(
    store: Store, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(store.path / "progress" / "x.json"))

    monkeypatch.setattr("relusweep.cluster.worker.execute", refuse)
    worker = Worker(Assignment(store.path, Measure(), "local", 60.0), torch.device("cpu"))
    with pytest.raises(StoreError, match=r"progress/x\.json: the file system is read-only"):
        worker.train(pack)
