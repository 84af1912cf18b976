"""Outcomes: which tasks of a submission have ended, and what became of their packs."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from relusweep.cluster.backend import BackendError, Outcome
from relusweep.cluster.slurm.queue import Queue
from relusweep.cluster.slurm.submission import CANCELLED, Submission
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.run_ids import RunIds

_TICK_SECONDS = 0.5
_FILES_SECONDS = 1.0  # between looks at what the tasks have written


def task_ends(submission: Submission, tick: Callable[[], None]) -> Iterator[tuple[int, str | None]]:
    """Yield each task that has ended: by itself (None), or with the state that SLURM gave it.

    What a task wrote counts first, the queue where it wrote nothing, accounting where the queue has forgotten. Tasks
    that still wait in the queue when all runs are recorded, as other tasks took theirs over, are cancelled.

    Raises:
        KeyboardInterrupt: if the submission was cancelled.
    """
    queue, known = Queue(), set[int]()
    missing, read = RunIds.of(*(ids.keys for ids in submission.run_ids)), set[Path]()
    looked = 0.0
    while len(known) < len(submission.tasks):
        tick()
        time.sleep(_TICK_SECONDS)
        if time.monotonic() - looked < _FILES_SECONDS:
            continue
        looked = time.monotonic()
        if submission.ended == CANCELLED:
            raise KeyboardInterrupt
        for number in sorted(submission.ended_tasks() - known):
            known.add(number)
            yield number, None
        if missing:
            missing -= submission.store.recorded_since(submission.assignment.since, read)
            if not missing and len(known) < len(submission.tasks):
                queue.cancel_pending(submission)
        queue.look([submission])
        gone = {number for _, number in queue.gone} - known
        states = queue.last_states(submission, gone)
        for number in sorted(gone - submission.ended_tasks()):
            known.add(number)
            yield number, states[number]
    submission.end("all of its array tasks have ended")


def outcomes(submission: Submission, number: int) -> Iterator[Outcome]:
    """Yield what a task wrote at its end, pack by pack.

    Raises:
        StoreError: if it could not write.
        BackendError: if it could not work.
    """
    ending = submission.ending(number)
    if ending.get("error"):
        raise (StoreError if ending.get("kind") == "StoreError" else BackendError)(ending["error"])
    for pack in submission.packs(submission.tasks[number].packs):
        kind, error = ending.get("outcomes", {}).get(pack.id, ["recorded", ""])  # by others, before it came to it
        yield Outcome(pack, kind, error)
