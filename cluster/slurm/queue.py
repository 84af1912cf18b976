"""Queue: which array tasks of a store's submissions SLURM still has, from its files and rare calls of squeue."""

import shutil
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from relusweep.cluster.progress import grouped
from relusweep.cluster.slurm.scheduler import QueuedTask, SchedulerError, cancel, ends, squeue
from relusweep.cluster.slurm.submission import Submission, open_submissions, submissions
from relusweep.sweep.store.lease import active_packs
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store

LEAST_SECONDS = 30.0  # between two calls of squeue …
MOST_SECONDS = 300.0  # … which come ever more rarely while nothing changes
CANCELLED = "cancelled"
SETTLE_SECONDS = 3.0  # a job that SLURM is about to queue again is missing from the queue for a moment
_MOST_NAMED = 20  # tasks, of each kind


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


class Pending:
    """The runs that jobs of a store are still to train: like leased ones, they are left to them."""

    def __init__(self, store: Store) -> None:
        self.store, self.queue = store, Queue()
        self._known: dict[str, Submission] = {}

    def submissions(self) -> dict[Submission, set[int]]:
        """Return open submissions with the tasks that may yet train.

        Raises:
            SchedulerError: if there is one, and this machine has no SLURM to ask.
        """
        opened = [self._known.setdefault(each.id, each) for each in open_submissions(self.store)]
        silent = [each for each in opened if len(each.ended_tasks()) < len(each.tasks)]
        if silent and shutil.which("squeue") is None:
            raise SchedulerError(
                f"{silent[0].path}: jobs of this store may be in a queue, and there is no squeue here to ask; "
                "expected a login node of their cluster. If they are gone for good, delete that folder."
            )
        self.queue.look(silent)
        left = {each: set(range(len(each.tasks))) - each.ended_tasks() for each in opened}
        return {each: {k for k in numbers if (each.id, k) not in self.queue.gone} for each, numbers in left.items()}

    def runs(self, *, close: bool = True) -> RunIds:
        """Return the ids of these runs; those recorded by now may be among them.

        Args:
            close: Mark submissions as ended of which no task may train any more.
        """
        left = self.submissions()
        for each, numbers in left.items():
            if close and not numbers and not each.is_being_submitted:
                each.end("none of its jobs is in the queue any more")
        return RunIds.of(*(each.run_ids[number].keys for each, numbers in left.items() for number in numbers))


def cancel_submissions(store: Store) -> list[str]:
    """Cancel what was submitted for this store, and nothing else; return the ids of the jobs that there were.

    Raises:
        SchedulerError: if SLURM cannot be asked or does not obey.
    """
    found = submissions(store)
    names = [name for each in found for name in each.job_names]  # the report of one that has ended may yet wait
    tasks = squeue(names) if names else []
    for each in found:
        if each.ended is None:
            each.end(CANCELLED)  # first, so that no task asks to be queued again
    jobs = sorted({task.job for task in tasks if task.is_live}, key=int)
    if jobs:
        cancel(jobs)
    return jobs


def describe(store: Store, queue: Queue | None = None) -> list[str]:
    """Return in a few lines what SLURM has of a store; asks it once, or as rarely as a queue does that is given."""
    opened = open_submissions(store)
    if not opened:
        return []
    queue = queue or Queue()
    queue.look(opened)
    progress = {each["pack_id"]: each["time"] for each in store.progress()}
    lines = []
    for each in opened:
        ended = each.ended_tasks()
        left = [k for k in range(len(each.tasks)) if k not in ended]
        endings = ((k, each.ending(k).get("error")) for k in sorted(ended))
        errors = [*grouped(((f"  {each.slurm_id(k) or k}", f": {error}") for k, error in endings if error), "task")]
        report = queue.reports.get(each.id)
        closing = [f"SLURM job {report.job} writes the report after the others: {_kind(report)}"] if report else []
        if not left and not errors:
            lines += closing
            continue  # no launcher has looked since, and closed it
        tasks = {k: queue.tasks[each.id, k] for k in left if (each.id, k) in queue.tasks}
        kinds = Counter(_kind(task) for task in tasks.values() if task.is_live)
        jobs = ", ".join(each.jobs or sorted({task.job for task in tasks.values()})) or "unknown as yet"
        counted = "".join(f", {count} {kind}" for kind, count in kinds.most_common())
        lines.append(f"SLURM job(s) {jobs}: {len(left)} of {len(each.tasks)} task(s) left{counted}")
        running = [k for k, task in tasks.items() if task.state == "RUNNING"]
        for k in running[:_MOST_NAMED]:
            history = each.history(k)
            packs = [each.bundles[number].pack_id for number in (*each.tasks[k].packs, *history.get("taken", []))]
            last = max([history.get("time", 0.0), *(progress.get(pack, 0.0) for pack in packs)])
            since = f"{max(0, round(time.time() - last))} s since its last progress" if last else "starting"
            lines.append(f"  {each.slurm_id(k) or tasks[k].id} on {tasks[k].node}: {since}")
        gone = [k for k in left if (each.id, k) in queue.gone]
        states = queue.last_states(each, gone[:_MOST_NAMED])
        log = f"see {each.path}/logs; the same `relusweep run` submits what is missing again"
        ways = ((f"  {each.slurm_id(k) or k}", f": gone ({state}), {log}") for k, state in states.items())
        lines += grouped(ways, "task")
        lines += [f"  … and {len(gone) - _MOST_NAMED} more tasks are gone"] if len(gone) > _MOST_NAMED else []
        lines += errors[:_MOST_NAMED] + closing
    if queue.error:
        lines.append(f"SLURM cannot be asked: {queue.error}")
    return lines


def is_left_alone(store: Store, queue: Queue) -> bool:
    """Return whether jobs of a store were to train, and no worker is left that does."""
    if active_packs(store) or not submissions(store):
        return False
    opened = open_submissions(store)
    waiting = ((each.id, k) for each in opened for k in range(len(each.tasks)) if k not in each.ended_tasks())
    return not any(each.is_being_submitted for each in opened) and all(key in queue.gone for key in waiting)


def _kind(task: QueuedTask) -> str:
    return f"{task.state.lower()}{f' ({task.reason})' if task.reason not in ('', 'None') else ''}"
