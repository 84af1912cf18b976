"""Queue: what is pending counts as somebody's, also where nobody can be asked."""

import time

import pytest

from cluster.backend import Job
from cluster.queue import Pending, describe
from cluster.scheduler import SchedulerError
from cluster.submission import Draft, Element
from sweep.pack import Pack
from sweep.spec import Spec
from sweep.store import Store


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


def test_submission_whose_elements_have_all_ended_is_closed(store, submission):
    submission.end_element(0, {})
    assert Pending(store).runs() == set()
    assert submission.ended == "none of its jobs is in the queue any more"
