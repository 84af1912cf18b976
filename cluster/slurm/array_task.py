"""Array task: trains its packs as `local` does, and sees to it that it comes back.

A task whose packs are done early goes on with packs of others that have not been begun: what packs really take is not
known when they are dealt out.

The node gets the same workers as a machine of one's own: a process a GPU, or one a core. What SLURM does to jobs comes
as a signal: the workers write their states, and the task asks to be queued again unless SLURM does that by itself.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import psutil

from relusweep.cluster.host.signals import ignore
from relusweep.cluster.local.forks import load_ahead
from relusweep.cluster.slurm.allocation import workers_here
from relusweep.cluster.slurm.machine import Machine
from relusweep.cluster.slurm.scheduler import requeue_this_job
from relusweep.cluster.slurm.submission import Submission
from relusweep.cluster.slurm.task_history import TaskHistory
from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.pack import Pack
from relusweep.sweep.store.lease import EXPIRY_SECONDS

_LOOK_SECONDS = 5.0  # between looks at packs that another worker trains


def run(path: str, first: str, came: list[int]) -> None:
    """Train what is left of a task's packs, or be queued again.

    Args:
        path: Where the submission lies.
        first: Number of the first task of the array that this job belongs to.
        came: Signals, as they come.
    """
    submission, number = Submission(Path(path)), int(first) + int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    if submission.ended is not None or number in submission.ended_tasks():
        return
    try:
        outcomes = _train(submission, number, came)
    except KeyboardInterrupt:
        ignore()  # whatever else comes
        print("The states are written.", flush=True)
        _come_back(submission)
    except RelusweepError as error:
        print(error, file=sys.stderr, flush=True)
        if came:  # which may be why
            _come_back(submission)
        else:
            submission.end_task(number, {}, str(error), type(error).__name__)
    else:
        submission.end_task(number, outcomes)


def _come_back(submission: Submission) -> None:
    """Ask SLURM to queue this job again, unless its submission has ended."""
    ignore()  # whatever else comes, here and in the commands that we call
    if submission.ended is None and requeue_this_job():
        print("Queued again.", flush=True)


def _train(submission: Submission, number: int, came: list[int]) -> dict[str, Any]:
    """Train until nothing is left that no other worker trains; return kind and error of every pack by its id.

    Raises:
        KeyboardInterrupt: if a signal came; the states have been written.
    """
    history = TaskHistory(submission, number)
    history.start()
    if history.restarts.are_too_many:  # before anything is loaded: it was never left the time to
        return history.give_up()
    workers = workers_here(submission.content["machine"])
    if workers > 1:
        load_ahead()  # while this process loads the same
    from relusweep.cluster.local.backend import Local

    local = Local(workers)
    history.compare()
    if history.restarts.are_too_many:
        return history.give_up()
    if came:
        raise KeyboardInterrupt
    passed_on = False

    def tick() -> None:
        nonlocal passed_on
        if came and not passed_on:  # between our handlers and those of the workers
            passed_on = True
            os.kill(os.getpid(), signal.SIGTERM)

    patience = time.monotonic() + EXPIRY_SECONDS + _LOOK_SECONDS
    while True:
        moved = False
        packs = history.begun(chain(history.left(), _spare(history, workers)))
        for outcome in local.train(submission.assignment, packs, tick):
            history.note(outcome)
            moved |= outcome.kind != "elsewhere"
        if came:
            raise KeyboardInterrupt
        if not history.left():
            return history.outcomes
        if moved:
            patience = time.monotonic() + EXPIRY_SECONDS + _LOOK_SECONDS
        elif time.monotonic() > patience:
            return history.outcomes  # their workers are alive: the leases of dead ones would have expired
        else:
            time.sleep(_LOOK_SECONDS)


def _spare(history: TaskHistory, workers: int) -> Iterator[Pack]:
    """Yield packs of other tasks, one for each worker at a time, as long as the job's time is enough for them.

    A pack that has failed, or whose process died, is left to its task: what kills a job is not to kill all of them.
    """
    submission = history.submission
    machine = Machine.model_validate(submission.content["machine"])
    end = psutil.Process().create_time() + machine.sure_seconds
    chance = random.Random(history.number)
    while submission.ended is None:
        untouched, left = submission.untouched(), end - time.time()
        spare = [k for k in untouched if k not in history.known and submission.bundles[k].seconds < left]
        if not spare:
            return
        yield from history.take(chance.sample(spare, min(workers, len(spare))))
