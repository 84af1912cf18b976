"""Queue: which array tasks of submissions SLURM still has, from their files and rare calls of squeue."""

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from relusweep.cluster.slurm.scheduler import QueuedTask, SchedulerError, cancel, ends, squeue
from relusweep.cluster.slurm.submission import Submission

LEAST_SECONDS = 30.0  # between two calls of squeue …
MOST_SECONDS = 300.0  # … which come ever more rarely while nothing changes
SETTLE_SECONDS = 3.0  # a job that SLURM is about to queue again is missing from the queue for a moment


@dataclass
class Queue:
    """Looks at submissions, all of them with one call."""

    tasks: dict[tuple[str, int], QueuedTask] = field(default_factory=dict)  # by submission and number
    reports: dict[str, QueuedTask] = field(default_factory=dict)  # by submission: the job that writes the report
    gone: set[tuple[str, int]] = field(default_factory=set)  # SLURM has them no more, though they wrote no end
    error: str = ""  # why SLURM could not be asked the last time
    _next: float = field(default_factory=time.monotonic)
    _wait: float = 0.0

    def look(self, submissions: Iterable[Submission]) -> None:
        """Ask SLURM if it is time to. What is missing is looked for twice before it counts as gone."""
        submissions = list(submissions)
        if not submissions or time.monotonic() < self._next:
            return
        before = self.gone, {key: task.state for key, task in self.tasks.items()}
        expected = [each for each in submissions if not each.is_being_submitted]
        self._ask(expected)
        missing = self._missing(expected)
        if missing - self.gone:
            time.sleep(SETTLE_SECONDS)
            self._ask(expected)
            missing &= self._missing(expected)
        if not self.error:
            self.gone = missing
        changed = before != (self.gone, {key: task.state for key, task in self.tasks.items()})
        self._wait = LEAST_SECONDS if changed else min(MOST_SECONDS, max(2 * self._wait, LEAST_SECONDS))
        self._next = time.monotonic() + self._wait

    def cancel_pending(self, submission: Submission) -> None:
        """Cancel what of a submission has not started, and ask SLURM about it at the next look; it may refuse."""
        with suppress(SchedulerError):
            cancel(submission.jobs, only_pending=True)
            self._next = time.monotonic()

    def last_states(self, submission: Submission, numbers: Iterable[int]) -> dict[int, str]:
        """Return how tasks that are gone have ended, as far as SLURM remembers."""
        states = {k: self.tasks[submission.id, k].state for k in numbers if (submission.id, k) in self.tasks}
        forgotten = {k: submission.slurm_id(k) for k in numbers if k not in states}
        asked = [job for job in forgotten.values() if job]
        ended = ends(asked) if asked else {}
        return states | {k: ended.get(job or "", "unknown to SLURM") for k, job in forgotten.items()}

    def _ask(self, submissions: list[Submission]) -> None:
        names = [name for each in submissions for name in each.job_names]
        try:
            found = squeue(names) if names else []
        except SchedulerError as error:
            self.error = str(error)
            return
        self.error = ""
        self.tasks = {
            (each.id, number): task
            for each in submissions
            for task in found
            if (number := each.task_number(task.name, task.index)) is not None
        }
        jobs = {task.name: task for task in found if task.is_live}
        self.reports = {each.id: jobs[name] for each in submissions if (name := each.job_name("report")) in jobs}

    def _missing(self, submissions: list[Submission]) -> set[tuple[str, int]]:
        if self.error:
            return set()
        live = {key for key, task in self.tasks.items() if task.is_live}
        expected = {(each.id, number) for each in submissions for number in range(len(each.tasks))}
        ended = {(each.id, number) for each in submissions for number in each.ended_tasks()}
        return expected - live - ended
