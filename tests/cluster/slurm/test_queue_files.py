"""Queue: what is pending counts as somebody's, also where nobody can be asked."""

import time

import pytest

from relusweep.cluster.backend import Job
from relusweep.cluster.slurm.queue import Pending, Queue, describe
from relusweep.cluster.slurm.scheduler import SchedulerError
from relusweep.cluster.slurm.submission import Draft, Element
from relusweep.sweep.pack import Pack
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "store")


@pytest.fixture
def submission(store, tiny):
    spec = Spec.read(tiny())
    draft = Draft(store)
    draft.take([(Pack(tuple(spec.expand())), 1.0)])
    job = Job(store.path, spec.measure, "slurm", 60.0)
    return draft.publish([Element((0,), 4, 1.0)], [range(1)], job, {"time": time.time(), "machine": {}})


def test_store_without_submissions_asks_nobody(store, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Pending(store).runs() == set()
    assert describe(store) == []


def test_machine_that_cannot_ask_says_so_instead_of_training_what_may_be_in_a_queue(
    store, submission, monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    message = (
        r"jobs of this store may be in a queue, and there is no squeue here .*; expected a login node .* delete that"
    )
    with pytest.raises(SchedulerError, match=message):
        Pending(store).runs()
    assert describe(store) == [
        "SLURM job(s) unknown as yet: 1 of 1 element(s) left",
        "SLURM cannot be asked: squeue: not found on this machine; expected SLURM. Use a login node.",
    ]


def test_runs_are_pending_while_their_launcher_is_at_it(store, submission):
    with submission.being_submitted():
        assert Pending(store).runs() == submission.run_ids[0]


def test_looking_closes_nothing(store, submission):
    submission.end_element(0, {})
    assert Pending(store).runs(close=False) == set()
    assert submission.ended is None


def test_elements_of_which_the_same_is_to_be_said_are_one_line(store, tiny):
    packs = [(Pack((run,)), 1.0) for run in Spec.read(tiny(grid="lr = [0.1], seed = { range = [0, 44] }")).expand()]
    draft = Draft(store)
    draft.take(packs)
    elements = [Element((number,), 1, 1.0) for number in range(44)]
    job = Job(store.path, Spec.read(tiny()).measure, "slurm", 60.0)
    submission = draft.publish(elements, [range(44)], job, {"time": time.time(), "machine": {}})
    submission.write_jobs(["12"])
    for number in range(42):
        submission.end_element(number, {}, "no GPU", "BackendError")
    queue = Queue()
    queue.look = lambda submissions: None
    queue.gone = {(submission.id, number) for number in (42, 43)}
    assert describe(store, queue) == [
        "SLURM job(s) 12: 2 of 44 element(s) left",
        f"  12_42 and 1 more element: gone (unknown to SLURM), see {submission.path}/logs; "
        "the same `relusweep run` submits what is missing again",
        "  12_0 and 41 more elements: no GPU",
    ]


def test_submission_whose_elements_have_all_ended_is_closed(store, submission):
    submission.end_element(0, {})
    assert Pending(store).runs() == set()
    assert submission.ended == "none of its jobs is in the queue any more"
