"""Retries: packs whose job died are submitted again, three times unless they get further."""

import pytest

from relusweep.cluster.backend import ATTEMPTS
from relusweep.cluster.slurm.retries import Retries


@pytest.fixture
def dead(published):
    """A submission of one task with two packs of two runs, which began some of them and wrote no more."""

    def make(*begun):
        submission = published()
        submission.write_history(0, {"begun": [submission.bundles[number].pack_id for number in begun]})
        submission.write_jobs(["12"])
        return submission

    return make


def test_pack_whose_job_dies_is_submitted_again_and_at_last_listed_but_not_its_mates(dead):
    submission = dead(0)
    first, second = submission.packs([0, 1])
    retries = Retries(submission.store)
    for _ in range(ATTEMPTS - 1):
        assert list(retries.outcomes(submission, 0, "OUT_OF_MEMORY")) == []
        assert list(retries.take()) == [first, second]
    (outcome,) = retries.outcomes(submission, 0, "OUT_OF_MEMORY")
    assert (outcome.pack, outcome.kind) == (first, "failed")
    assert outcome.error.startswith("its job 12 ended as OUT_OF_MEMORY, 3 times without getting further. See ")
    assert list(retries.take()) == [second]
    (listed,) = submission.store.failures()
    assert (listed["pack_id"], listed["attempts"]) == (first.id, ATTEMPTS)


def test_task_that_never_began_a_pack_has_all_of_them_for_suspects(dead):
    submission = dead()
    retries = Retries(submission.store)
    for _ in range(ATTEMPTS - 1):
        assert list(retries.outcomes(submission, 0, "FAILED")) == []
    assert [outcome.kind for outcome in retries.outcomes(submission, 0, "FAILED")] == ["failed", "failed"]


def test_recorded_runs_of_a_dead_task_are_not_submitted_again(dead, record):
    submission = dead(0, 1)
    first, second = submission.packs([0, 1])
    record(submission, *first.runs, second.runs[0])
    retries = Retries(submission.store)
    (outcome,) = retries.outcomes(submission, 0, "TIMEOUT")
    assert (outcome.pack, outcome.kind) == (first, "recorded")
    assert [pack.runs for pack in retries.take()] == [(second.runs[1],)]


def test_pack_that_another_task_records_before_all_have_ended_is_not_submitted_again(dead, record):
    submission = dead(0, 1)
    first, second = submission.packs([0, 1])
    retries = Retries(submission.store)
    assert list(retries.outcomes(submission, 0, "OUT_OF_MEMORY")) == []
    record(submission, *first.runs, part=first.id)
    assert list(retries.take()) == [second]
