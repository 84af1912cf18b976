"""Queue: SLURM is asked rarely, and believed when it says twice that an element is gone."""

import itertools
import time

import pytest

from relusweep.cluster.backend import Job
from relusweep.cluster.slurm import queue as queues
from relusweep.cluster.slurm.queue import Pending, Queue, cancel_submissions
from relusweep.cluster.slurm.submission import Draft, Element
from relusweep.sweep.pack import Pack
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store


@pytest.fixture
def submission(tiny, tmp_path):
    spec, store = Spec.read(tiny()), Store.create(tmp_path / "store")
    draft = Draft(store)
    draft.take([(Pack(tuple(spec.expand())), 1.0)])
    job = Job(store.path, spec.measure, "slurm", 60.0)
    return draft.publish([Element((0,), 4, 1.0)], [range(1)], job, {"time": time.time(), "machine": {}})


@pytest.fixture
def calls(monkeypatch):
    """When squeue was called."""
    made, ask = [], queues.squeue
    monkeypatch.setattr(queues, "squeue", lambda names: made.append(time.monotonic()) or ask(names))
    monkeypatch.setattr(queues, "SETTLE_SECONDS", 0.5)
    return made


def test_queue_is_asked_ever_more_rarely_while_nothing_changes(slurm, submission, calls, monkeypatch):
    monkeypatch.setattr(queues, "LEAST_SECONDS", 0.3)
    monkeypatch.setattr(queues, "MOST_SECONDS", 1.2)
    job = slurm.sbatch("true", "--hold", f"--job-name={submission.job_name(0)}", "--output=/dev/null")
    queue, end = Queue(), time.monotonic() + 5
    while time.monotonic() < end:
        queue.look([submission])
        time.sleep(0.01)
    gaps = [later - sooner for sooner, later in itertools.pairwise(calls)]
    assert gaps[0] == pytest.approx(0.3, abs=0.25)
    assert all(gap > 1.19 for gap in gaps[2:])
    assert 4 <= len(calls) <= 7
    task = queue.tasks[submission.id, 0]
    assert (task.job, task.state, task.reason) == (job, "PENDING", "JobHeldUser")


def test_element_counts_as_gone_when_two_answers_in_a_row_lack_it(slurm, submission, calls, monkeypatch):
    monkeypatch.setattr(queues, "LEAST_SECONDS", 0.0)
    job = slurm.sbatch("true", "--hold", f"--job-name={submission.job_name(0)}", "--output=/dev/null")
    pending = Pending(submission.store)
    assert pending.runs() == submission.run_ids[0]
    slurm.run("scancel", job)
    before = len(calls)
    assert pending.runs() == set()
    assert len(calls) == before + 2
    assert calls[-1] - calls[-2] > 0.49
    assert submission.ended == "none of its jobs is in the queue any more"


def test_element_is_seen_whatever_its_owner_likes_to_see(slurm, submission, monkeypatch):
    slurm.sbatch("true", "--hold", f"--job-name={submission.job_name(0)}", "--output=/dev/null")
    for name, value in {"PARTITION": "high", "FORMAT": "%i", "FORMAT2": "jobid", "STATES": "running"}.items():
        monkeypatch.setenv(f"SQUEUE_{name}", value)
    assert Pending(submission.store).runs() == submission.run_ids[0]


def test_report_that_is_to_be_written_when_all_elements_have_ended_is_cancelled_too(slurm, submission):
    job = slurm.sbatch("true", "--hold", f"--job-name={submission.job_name('report')}", "--output=/dev/null")
    submission.end("nothing is left to its elements")
    assert cancel_submissions(submission.store) == [job]
    assert slurm.jobs()[job] == "CANCELLED"
    assert submission.ended == "nothing is left to its elements"


def test_element_that_is_back_at_the_second_look_is_not_gone(slurm, submission, calls, monkeypatch):
    monkeypatch.setattr(queues, "LEAST_SECONDS", 0.0)
    ask = queues.squeue

    def and_then_it_is_back(names):
        answer = ask(names)
        if len(calls) == 1:
            slurm.sbatch("true", "--hold", f"--job-name={submission.job_name(0)}", "--output=/dev/null")
        return answer

    monkeypatch.setattr(queues, "squeue", and_then_it_is_back)
    assert Pending(submission.store).runs() == submission.run_ids[0]
    assert len(calls) == 2
    assert submission.ended is None
