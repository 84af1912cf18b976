"""Worker: shows what it does."""

from pathlib import Path

import pytest
import torch

from relusweep.cluster.backend import Assignment
from relusweep.cluster.progress import Snapshot, Watcher
from relusweep.cluster.worker import Worker
from relusweep.sweep.kernels.jit.program import user_cache
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store
from relusweep.sweep.tally import Tally


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
