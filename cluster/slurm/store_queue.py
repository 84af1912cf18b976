"""Store queue: what SLURM has of a store: the runs that are still to be trained, in a few lines, and cancelled."""

import shutil
import time
from collections import Counter

from relusweep.cluster.progress import grouped
from relusweep.cluster.slurm.queue import Queue
from relusweep.cluster.slurm.scheduler import QueuedTask, SchedulerError, cancel, squeue
from relusweep.cluster.slurm.submission import CANCELLED, Submission, open_submissions, submissions
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store

_MOST_NAMED = 20  # tasks, of each kind


class StoreQueue:
    """The submissions of a store, looked at as rarely as `Queue` says. See `jobs.queue` for the contract."""

    def __init__(self, store: Store) -> None:
        self.store, self.queue = store, Queue()
        self._known: dict[str, Submission] = {}

    @property
    def error(self) -> str:
        """Why SLURM could not be asked the last time."""
        return f"SLURM cannot be asked: {self.queue.error}" if self.queue.error else ""

    @property
    def are_over(self) -> bool | None:
        """Whether none of the jobs will train any more, by the last look; None if there never was one."""
        if not submissions(self.store):
            return None
        opened = self._opened()
        waiting = ((each.id, k) for each in opened for k in range(len(each.tasks)) if k not in each.ended_tasks())
        return not any(each.is_being_submitted for each in opened) and all(key in self.queue.gone for key in waiting)

    def runs(self, *, close: bool = True) -> RunIds:
        """Return the ids of the runs that tasks are still to train; some may be recorded by now.

        Args:
            close: Mark submissions as ended of which no task may train any more.

        Raises:
            SchedulerError: if there are tasks, and this machine has no SLURM to ask.
        """
        left = self._left()
        for each, numbers in left.items():
            if close and not numbers and not each.is_being_submitted:
                each.end("none of its jobs is in the queue any more")
        return RunIds.of(*(each.run_ids[number].keys for each, numbers in left.items() for number in numbers))

    def jobs(self) -> list[str]:
        """Return the ids of the jobs that may yet train, those that were written down."""
        return [job for each in open_submissions(self.store) for job in each.jobs]

    def describe(self) -> list[str]:
        """Return in a few lines what SLURM has."""
        opened = self._opened()
        if not opened:
            return []
        self.queue.look(opened)
        progress = {each["pack_id"]: each["time"] for each in self.store.progress()}
        lines = [line for each in opened for line in _lines(each, self.queue, progress)]
        return [*lines, self.error] if self.error else lines

    def cancel(self) -> list[str]:
        """Cancel what was submitted for this store, and nothing else; return the ids of the jobs that there were.

        Raises:
            SchedulerError: if SLURM cannot be asked or does not obey.
        """
        found = submissions(self.store)
        names = [name for each in found for name in each.job_names]  # the report of one that has ended may yet wait
        tasks = squeue(names) if names else []
        for each in found:
            if each.ended is None:
                each.end(CANCELLED)  # first, so that no task asks to be queued again
        jobs = sorted({task.job for task in tasks if task.is_live}, key=int)
        if jobs:
            cancel(jobs)
        return jobs

    def _opened(self) -> list[Submission]:
        """Return the open submissions, each as the same object every time: it keeps what it has read."""
        return [self._known.setdefault(each.id, each) for each in open_submissions(self.store)]

    def _left(self) -> dict[Submission, set[int]]:
        """Return open submissions with the tasks that may yet train."""
        opened = self._opened()
        silent = [each for each in opened if len(each.ended_tasks()) < len(each.tasks)]
        if silent and shutil.which("squeue") is None:
            raise SchedulerError(
                f"{silent[0].path}: jobs of this store may be in a queue, and there is no squeue here to ask; "
                "expected a login node of their cluster. If they are gone for good, delete that folder."
            )
        self.queue.look(silent)
        left = {each: set(range(len(each.tasks))) - each.ended_tasks() for each in opened}
        return {each: {k for k in numbers if (each.id, k) not in self.queue.gone} for each, numbers in left.items()}


def _lines(submission: Submission, queue: Queue, progress: dict[str, float]) -> list[str]:
    """Return what SLURM has of one submission: jobs, tasks that run, those that are gone, errors, the report."""
    ended = submission.ended_tasks()
    left = [k for k in range(len(submission.tasks)) if k not in ended]
    endings = ((k, submission.ending(k).get("error")) for k in sorted(ended))
    named = ((f"  {submission.slurm_id(k) or k}", f": {error}") for k, error in endings if error)
    errors = [*grouped(named, "task")][:_MOST_NAMED]
    report = queue.reports.get(submission.id)
    closing = [f"SLURM job {report.job} writes the report after the others: {_kind(report)}"] if report else []
    if not left and not errors:
        return closing  # no launcher has looked since, and closed it
    tasks = {k: queue.tasks[submission.id, k] for k in left if (submission.id, k) in queue.tasks}
    kinds = Counter(_kind(task) for task in tasks.values() if task.is_live)
    jobs = ", ".join(submission.jobs or sorted({task.job for task in tasks.values()})) or "unknown as yet"
    counted = "".join(f", {count} {kind}" for kind, count in kinds.most_common())
    first = f"SLURM job(s) {jobs}: {len(left)} of {len(submission.tasks)} task(s) left{counted}"
    return [first, *_running(submission, tasks, progress), *_gone(submission, queue, left), *errors, *closing]


def _running(submission: Submission, tasks: dict[int, QueuedTask], progress: dict[str, float]) -> list[str]:
    lines = []
    for k in [k for k, task in tasks.items() if task.state == "RUNNING"][:_MOST_NAMED]:
        history = submission.history(k)
        numbers = (*submission.tasks[k].packs, *history.get("taken", []))
        packs = [submission.bundles[number].pack_id for number in numbers]
        last = max([history.get("time", 0.0), *(progress.get(pack, 0.0) for pack in packs)])
        since = f"{max(0, round(time.time() - last))} s since its last progress" if last else "starting"
        lines.append(f"  {submission.slurm_id(k) or tasks[k].id} on {tasks[k].node}: {since}")
    return lines


def _gone(submission: Submission, queue: Queue, left: list[int]) -> list[str]:
    gone = [k for k in left if (submission.id, k) in queue.gone]
    states = queue.last_states(submission, gone[:_MOST_NAMED])
    log = f"see {submission.path}/logs; the same `relusweep run` submits what is missing again"
    ways = ((f"  {submission.slurm_id(k) or k}", f": gone ({state}), {log}") for k, state in states.items())
    more = [f"  … and {len(gone) - _MOST_NAMED} more tasks are gone"] if len(gone) > _MOST_NAMED else []
    return [*grouped(ways, "task"), *more]


def _kind(task: QueuedTask) -> str:
    return f"{task.state.lower()}{f' ({task.reason})' if task.reason not in ('', 'None') else ''}"
