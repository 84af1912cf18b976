"""Array task: goes on with packs of others when its own are done, and leaves alone what others train."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.cluster import worker
from relusweep.cluster.backend import ATTEMPTS, BackendError
from relusweep.cluster.jobs.restarts import IDLE_STARTS
from relusweep.cluster.slurm import array_task
from relusweep.cluster.slurm.array_task import _train
from relusweep.cluster.slurm.queue import Queue
from relusweep.cluster.slurm.submission import Submission
from relusweep.cluster.slurm.task_history import TaskHistory
from relusweep.sweep.store import process
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.lease import EXPIRY_SECONDS
from relusweep.sweep.store.store import Store


@pytest.fixture
def lease_of_another_host(submission):
    """A lease on the first pack, last touched so many seconds ago."""
    (pack,) = submission.packs([0])

    def make(ago):
        path = submission.store.path / "claims" / f"{pack.id}.json"
        path.write_text(json.dumps({"host": "a", "pid": 1, "started": 0.0, "runs": [run.id for run in pack.runs]}))
        os.utime(path, (time.time() - ago,) * 2)
        return pack

    return make


@pytest.mark.slow
def test_lease_of_a_dead_host_is_waited_for_until_it_expires(submission, lease_of_another_host, monkeypatch):
    monkeypatch.setattr(array_task, "_LOOK_SECONDS", 0.2)
    lease_of_another_host(ago=EXPIRY_SECONDS - 2)
    outcomes = _train(submission, 0, [])
    assert {kind for kind, _ in outcomes.values()} == {"recorded"}
    assert len(submission.store.recorded()) == 4


def test_pack_that_a_living_host_trains_is_left_to_it(submission, lease_of_another_host, monkeypatch):
    monkeypatch.setattr(array_task, "_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(array_task, "EXPIRY_SECONDS", 1)  # of patience; the lease itself has 120
    pack = lease_of_another_host(ago=0)
    outcomes = _train(submission, 0, [])
    assert [pack_id for pack_id, (kind, _) in outcomes.items() if kind == "elsewhere"] == [pack.id]
    assert len(submission.store.recorded()) == 2


def test_task_that_is_done_goes_on_with_packs_that_were_not_begun(two):
    submission = two()
    packs = list(submission.packs(range(4)))
    _train(submission, 0, [])
    assert len(submission.store.recorded()) == 8
    history = submission.history(0)
    assert history["begun"][:2] == [packs[0].id, packs[1].id], "its own come first"
    assert sorted(history["taken"]) == [2, 3]
    assert _train(submission, 1, []) == {}
    assert "begun" not in submission.history(1)
    assert not [*submission.store.checkpoints(), *(submission.store.path / "claims").iterdir()]


def test_task_that_finds_its_packs_recorded_helps_all_the_same(two, record):
    submission = two()
    for pack in submission.packs([0, 1]):
        record(submission, *pack.runs, part=pack.id)
    _train(submission, 0, [])
    assert len(submission.store.recorded()) == 8


def test_packs_for_which_the_time_of_the_job_is_not_enough_are_left_to_their_task(two):
    submission = two(seconds=86_400 - 149)  # of a day, at whose end 90 seconds are for writing states, or a minute more
    _train(submission, 0, [])
    assert len(submission.store.recorded()) == 4


@pytest.mark.parametrize("folder", ["claims", "failures"])
def test_pack_that_failed_or_whose_process_was_killed_is_left_to_its_task(two, folder):
    submission = two()
    (pack,) = submission.packs([2])
    left = process.identity() | {"pid": 2**22 + 1, "runs": [run.id for run in pack.runs]}
    (submission.store.path / folder / f"{pack.id}.json").write_text(json.dumps(left))
    _train(submission, 0, [])
    assert submission.history(0)["taken"] == [3]
    assert len(submission.store.recorded()) == 6
    outcomes = _train(submission, 1, [])
    assert outcomes == {pack.id: ["recorded", ""]}
    assert not submission.store.failures()


def test_pack_that_fails_in_another_task_is_tried_there_once_and_reported_by_its_own(two, monkeypatch):
    submission = two()
    (bad,) = submission.packs([2])
    execute = worker.execute
    tried = []

    def fails(pack, *given, **named):
        if pack.id == bad.id:
            tried.append(pack)
            raise ValueError("no luck")
        return execute(pack, *given, **named)

    monkeypatch.setattr(worker, "execute", fails)
    _train(submission, 0, [])
    assert len(tried) == ATTEMPTS
    submission.end_task(0, {})
    assert _train(submission, 1, []) == {bad.id: ["failed", "ValueError: no luck"]}
    assert [failure["pack_id"] for failure in submission.store.failures()] == [bad.id]
    assert len(submission.store.recorded()) == 6


@pytest.mark.parametrize("hopeless", [0, 1, 2])
def test_pack_for_which_memory_is_too_little_is_trained_in_parts_and_ends(submission, monkeypatch, hopeless):
    first, second = submission.packs([0, 1])
    bad = {run.id for run in first.runs[:hopeless]}
    execute = worker.execute

    def starved(pack, *given, **named):
        if len(pack.runs) > 1 or pack.runs[0].id in bad:
            raise MemoryError
        return execute(pack, *given, **named)

    monkeypatch.setattr(worker, "execute", starved)
    outcomes = _train(submission, 0, [])
    assert outcomes[second.id] == ["recorded", ""]
    assert outcomes[first.id][0] == ("failed" if hopeless else "recorded")
    assert len(submission.store.recorded()) == 4 - hopeless
    assert {run_id for each in submission.store.failures() for run_id in each["run_ids"]} == bad


def test_task_that_is_stopped_in_a_pack_of_another_leaves_a_state_with_which_either_goes_on(two, monkeypatch):
    submission = two()
    others = {pack.id for pack in submission.packs([2, 3])}
    write = Store.write_progress

    def signals(store, worker, progress):
        write(store, worker, progress)
        if progress["pack_id"] in others:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(worker, "_PROGRESS_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "write_progress", signals)
        with pytest.raises(KeyboardInterrupt):
            _train(submission, 0, [])
    (state,) = submission.store.checkpoints()
    assert state.stem in others
    (taken,) = submission.history(0)["taken"]
    assert taken in submission.untouched()
    assert [pack.id for pack in TaskHistory(submission, 0).left()] == [state.stem]
    assert TaskHistory(submission, 1).left()[0].id == state.stem, "what has a state comes first"
    for _ in range(IDLE_STARTS):
        history = TaskHistory(submission, 0)
        history.start()
        history.compare()
    assert _train(submission, 0, []) == {}, "it gives up, for want of packs of its own"
    assert not submission.store.failures()
    _train(submission, 1, [])
    assert len(submission.store.recorded()) == 8


def test_store_may_be_compacted_while_tasks_train(two, monkeypatch, rows_on_disk):
    submission = two()
    write = Store.write

    def writes(store, *given):
        write(store, *given)
        compact(store)

    monkeypatch.setattr(Store, "write", writes)
    assert {kind for kind, _ in _train(submission, 0, []).values()} == {"recorded"}
    assert len(submission.store.parts()) == 1
    assert len(submission.untouched()) == 4, "by the names of files, which are gone"
    assert [*_train(submission, 1, []).values()] == [["recorded", ""]] * 2, (
        "what it took over for that, it finds recorded"
    )
    assert rows_on_disk(submission.store.path)["runs"] == len(submission.store.recorded()) == 8


def test_submission_that_was_cancelled_is_not_helped(two):
    submission = two()
    submission.end("cancelled")
    _train(submission, 0, [])
    assert len(submission.store.recorded()) == 4


def test_signal_that_came_early_is_answered(submission):
    with pytest.raises(KeyboardInterrupt):
        _train(submission, 0, [15])
    assert not submission.store.recorded()


@pytest.mark.parametrize("gpus", [1, 2])  # without a process of their own, and with one each
def test_task_that_is_done_trains_packs_of_one_that_waits_which_then_finds_nothing_to_do(
    gpus: int,
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Queue, "cancel_pending", lambda *_: None)  # as where no launcher waits
    spec, store = tiny(grid="lr = [0.1], seed = { range = [0, 96] }"), tmp_path / "store"
    said = cli("run", *submitting(spec, store, seconds=48 / gpus, max_array_tasks=1, gpus_per_job=gpus))
    assert (said.code, said.err) == (0, "")
    (submission,) = submissions(store)
    first, second = submission.tasks
    assert sorted(submission.history(0)["taken"]) == sorted(second.packs)
    assert len(submission.history(0)["begun"]) == len(first.packs) + len(second.packs)
    assert "begun" not in submission.history(1)
    assert submission.ending(1)["outcomes"] == {}
    verified(store)


@pytest.mark.parametrize("came", [[signal.SIGTERM], []])
def test_error_after_a_signal_to_the_whole_job_is_no_end_of_the_task(submission, monkeypatch, capsys, came):
    asked = []

    def fails(*_):
        raise BackendError("no worker process can be started")

    monkeypatch.setattr(array_task, "_train", fails)
    monkeypatch.setattr(array_task, "requeue_this_job", lambda: asked.append(True) or True)
    monkeypatch.setattr(array_task, "ignore", lambda: None)  # as this process has to answer signals afterwards
    array_task.run(str(submission.path), "0", came)
    assert asked == [True] * len(came)
    assert submission.ended_tasks() == (set() if came else {0})
    assert "no worker process can be started" in capsys.readouterr().err
