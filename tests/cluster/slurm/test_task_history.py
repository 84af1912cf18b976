"""Task history: a task trains what is left of its packs, and gives up only where it gets no further."""

import signal
import subprocess
import sys

import pytest

from relusweep.cluster.jobs.restarts import IDLE_STARTS
from relusweep.cluster.slurm.array_task import _train
from relusweep.cluster.slurm.task_history import TaskHistory


def started(submission, loads=True):
    history = TaskHistory(submission, 0)
    history.start()
    if loads:
        history.compare()
    return history


def test_what_others_recorded_is_not_trained_again(submission, record):
    first, second = submission.packs([0, 1])
    record(submission, first.runs[0])
    history = TaskHistory(submission, 0)
    assert [pack.runs for pack in history.left()] == [(first.runs[1],), second.runs]
    record(submission, *second.runs, part="later")
    assert [pack.runs for pack in history.left()] == [(first.runs[1],)]

    outcomes = _train(submission, 0, [])
    assert outcomes == {first.id: ["recorded", ""]}  # by the name under which it was submitted
    assert len(submission.store.recorded()) == 4
    assert submission.history(0)["begun"] == [first.id]


def test_pack_with_a_state_comes_first(submission, write_state):
    first, second = submission.packs([0, 1])
    write_state(submission, second, 100)
    assert TaskHistory(submission, 0).left() == [second, first]


def test_task_that_gets_no_further_gives_up_and_is_listed(submission):
    for _ in range(1 + IDLE_STARTS):
        history = started(submission)
    assert history.restarts.are_too_many
    outcomes = _train(submission, 0, [])
    assert {kind for kind, _ in outcomes.values()} == {"failed"}
    listed = submission.store.failures()
    assert {failure["pack_id"] for failure in listed} == set(outcomes)
    assert all("was started 3 times in a row without getting any further" in each["error"] for each in listed)
    assert not submission.store.recorded()


def test_task_that_gets_further_does_not_give_up_however_often_it_is_started(submission, record, write_state):
    first, _ = submission.packs([0, 1])
    for start in range(5 * IDLE_STARTS):
        if start % IDLE_STARTS == IDLE_STARTS - 1:
            write_state(submission, first, 100 + start)
        assert not started(submission).restarts.are_too_many, start
    record(submission, first.runs[0])
    for _ in range(IDLE_STARTS):
        history = started(submission)
    assert not history.restarts.are_too_many
    assert history.kept["starts"] == 6 * IDLE_STARTS


def test_start_that_is_stopped_while_it_loads_is_an_idle_one(submission, write_state):
    first, _ = submission.packs([0, 1])
    for _ in range(IDLE_STARTS):
        with pytest.raises(KeyboardInterrupt):
            _train(submission, 0, [signal.SIGUSR2])
    write_state(submission, first, 100)
    assert not started(submission).restarts.are_too_many, "something had come of them"
    for _ in range(IDLE_STARTS):
        assert not started(submission, loads=False).restarts.are_too_many
    assert started(submission).restarts.are_too_many


def test_task_that_is_never_left_the_time_to_load_torch_gives_up_without_it(submission):
    code = f"""
import sys
from pathlib import Path
from relusweep.cluster.slurm.array_task import _train
from relusweep.cluster.slurm.submission import Submission
for start in range({IDLE_STARTS}):
    sys.modules["torch"] = None  # who imports it now is stopped
    try:
        _train(Submission(Path(sys.argv[1])), 0, [12])
    except ImportError:
        del sys.modules["torch"]
kinds = [kind for kind, _ in _train(Submission(Path(sys.argv[1])), 0, [12]).values()]
print(kinds, "torch" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code, submission.path], capture_output=True, text=True, check=False)
    assert said.stdout == "['failed', 'failed'] False\n", said.stderr
    assert len(submission.store.failures()) == 2
