"""Submissions without SLURM: as a launcher leaves them in a store, for tasks that never come, or that a test plays."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from relusweep.cluster.backend import Assignment
from relusweep.cluster.slurm import queue as queues
from relusweep.cluster.slurm.arrays import ArrayTask, make_arrays
from relusweep.cluster.slurm.draft import Draft
from relusweep.cluster.slurm.submission import Submission
from relusweep.sweep.pack import Pack, make_packs
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store

CORES = {"gpus_per_job": 0, "cpus_per_task": 1, "time": "1-0"}


@pytest.fixture
def published(tiny: Callable[..., Path], tmp_path: Path) -> Callable[..., Submission]:
    """Publish a submission of packs of so many runs, with all of them in one task unless others are given."""

    def make(
        size: int = 2, tasks: Sequence[Sequence[int]] = (), seconds: float = 1.0, largest: int = 1001, **spec: Any
    ) -> Submission:
        planned, store = Spec.read(tiny(**spec)), Store.create(tmp_path / "store")
        draft = Draft(store)
        draft.take((pack, seconds) for pack in make_packs(planned.expand(), lambda run: size))
        runs = [bundle.runs for bundle in draft.bundles]
        dealt = [ArrayTask(tuple(mine), sum(runs[k] for k in mine), 1.0) for mine in tasks or [range(len(runs))]]
        assignment = Assignment(store.path, planned.measure, "slurm", 60.0)
        arrays = make_arrays(dealt, largest)[1]
        return draft.publish(dealt, arrays, assignment, {"time": time.time(), "machine": CORES})

    return make


@pytest.fixture
def submission(published: Callable[..., Submission]) -> Submission:
    """One task of two packs of two runs."""
    return published(max_steps=200)


@pytest.fixture
def two(published: Callable[..., Submission]) -> Callable[..., Submission]:
    """Two tasks of two packs of two runs, each pack of so many seconds at most."""
    long = {"grid": "lr = [0.05, 0.1], seed = { range = [0, 4] }", "max_steps": 20_000, "tolerance": 0.0}

    def make(seconds: float = 1.0) -> Submission:
        return published(tasks=[(0, 1), (2, 3)], seconds=seconds, **long)

    return make


@pytest.fixture
def record() -> Callable[..., None]:
    """Record runs of a submission in a part of a name, as if another worker had trained them."""

    def write(submission: Submission, *runs: Run, part: str = "by-others") -> None:
        rows = [run.model_dump() | {"run_id": run.id, "status": "budget"} for run in runs]
        submission.store.write(part, {"runs": rows}, {})

    return write


@pytest.fixture
def write_state() -> Callable[[Submission, Pack, int], None]:
    """Write the state of a pack after so many steps."""

    def write(submission: Submission, pack: Pack, step: int) -> None:
        saved = {"format": 2, "training": {"step": step, "cursor": 0, "ids": [run.id for run in pack.runs]}}
        torch.save(saved, submission.store.checkpoint(pack.id))

    return write


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When squeue was called."""
    made: list[float] = []
    ask = queues.squeue
    monkeypatch.setattr(queues, "squeue", lambda names: made.append(time.monotonic()) or ask(names))
    monkeypatch.setattr(queues, "SETTLE_SECONDS", 0.5)
    return made
