"""SLURM: packs as tasks of job arrays, submitted through submitit; the truth about them is in the store's files."""

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, final

import torch

from relusweep.cluster.backend import Assignment, BackendError, Foreseen, LaunchOptions, Outcome
from relusweep.cluster.cost import Costs, recorded_costs
from relusweep.cluster.pack_size import fair, fitting
from relusweep.cluster.progress import duration
from relusweep.cluster.slurm.arrays import ArrayTask, Bundle, Lengths, make_arrays, make_tasks, throttles
from relusweep.cluster.slurm.draft import Draft
from relusweep.cluster.slurm.machine import Machine
from relusweep.cluster.slurm.outcomes import outcomes, task_ends
from relusweep.cluster.slurm.queue import LEAST_SECONDS
from relusweep.cluster.slurm.retries import Retries
from relusweep.cluster.slurm.sbatch import script, submit_array, submit_report
from relusweep.cluster.slurm.scheduler import SchedulerError, cancel, largest_array, set_aside
from relusweep.cluster.slurm.submission import CANCELLED, Submission, open_submissions
from relusweep.sweep.device import devices
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.store import Store

_CORE_BYTES = 2 * 2**30  # what a core is taken to have where the machine file does not say
_GPU_BYTES = 16 * 2**30  # and a GPU: a login node cannot look
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@final
class Slurm:
    """A SLURM cluster, as a machine file describes it."""

    def __init__(
        self, workers: int | None = None, machine: Path | None = None, launch: LaunchOptions | None = None
    ) -> None:
        if machine is None:
            raise BackendError("--on slurm: no machine file; expected --machine FILE. Copy slurm/example.toml.")
        if workers is not None:
            raise BackendError(f"--workers {workers}: the machine file says what a job has; leave it out.")
        self.machine = Machine.read(machine)
        self.lengths = Lengths.on(self.machine)
        self.launch = launch or LaunchOptions()
        if ignored := set_aside():
            self.launch.say(f"{', '.join(ignored)}: not passed on; what jobs ask for stands in {machine}.")
        self.report_submitted = False  # whether a job that writes the report has been submitted
        self.workers_a_job = self.machine.gpus_per_job or self.machine.cpus_per_task
        self.workers = self.lengths.at_one_time * self.workers_a_job
        self._costs: Costs | None = None

    @property
    def device(self) -> torch.device:
        """See `Backend`: a GPU if the jobs have some and this machine has one, else the CPU."""
        return devices()[0] if self.machine.gpus_per_job else torch.device("cpu")

    def costs(self, measure: Measure, store: Store | None) -> Costs:
        """Return what runs cost: as recorded in a store on such devices, else as probed here."""
        if self._costs is None:
            recorded = recorded_costs(store, on_gpu=bool(self.machine.gpus_per_job)) if store else {}
            self._costs = Costs(measure, self.device, recorded, self.launch.say)
        return self._costs

    def pack_size(self, run: Run, measure: Measure, missing: int) -> int:
        """See `Backend`: bounded by memory, and so that a pack is no longer than the shortest task."""
        cure = "Raise mem in the machine file or use smaller runs."
        room = fitting(run, measure, self._worker_bytes(), "a worker", cure)
        if missing == 1:  # no pack yet, only whether a run fits
            return 1
        lasting = int(self.lengths.least / self.costs(measure, None).of(run))
        return max(1, min(room, lasting, fair(run, self.device, missing, self.workers)))

    def _worker_bytes(self) -> int:
        if self.machine.gpus_per_job:
            return _GPU_BYTES
        mem = (self.machine.mem or "0").upper()
        given = int(mem.rstrip("KMGT")) * _UNITS.get(mem[-1], _UNITS["M"])
        return given // self.workers_a_job or _CORE_BYTES

    def train(self, assignment: Assignment, packs: Iterator[Pack], tick: Callable[[], None]) -> Iterator[Outcome]:
        """See `Backend`. Packs whose job died are submitted again, up to `ATTEMPTS` times without getting further.

        Raises:
            BackendError: if sbatch refuses, or a task did not get what the machine file says.
            KeyboardInterrupt: if a signal came: the jobs go on; or if `relusweep cancel` ended them.
        """
        if shutil.which("sbatch") is None:
            raise BackendError("sbatch: not found on this machine; expected SLURM. Use a login node.")
        store = Store(assignment.store.absolute())
        self._costs = None
        self.costs(assignment.measure, store)
        retries = Retries(store)
        while (submission := self._submit(assignment, store, packs)) is not None and self.launch.stay:
            for number, state in task_ends(submission, tick):
                if state is None:
                    yield from outcomes(submission, number)
                else:
                    yield from retries.outcomes(submission, number, state)
            packs = retries.take()

    def foresee(self, packs: Iterable[tuple[int, float]], store: Path) -> Foreseen:
        """See `QueueingBackend`."""
        bundles = [Bundle("", *pack) for pack in packs]
        tasks = make_tasks(bundles, self.lengths, self.workers_a_job)
        tasks, arrays = make_arrays(tasks, self._largest_array())
        shares = throttles(len(arrays), self.machine.max_array_tasks)
        folder = store.absolute() / "jobs" / "<submission>"
        name = "relusweep-<submission>.0"
        text = script(self.machine, name, folder / "logs", len(arrays[0]), shares[0]) if arrays else ""
        return Foreseen(self._rows(tasks, arrays), text)

    def _rows(self, tasks: list[ArrayTask], arrays: list[range]) -> dict[str, str]:
        """Return what SLURM would be asked for."""
        gpus = self.machine.gpus_per_job
        hours = sum(task.seconds for task in tasks) / 3600
        lengths = sorted(task.seconds for task in tasks) or [0.0]
        between = f"{duration(lengths[0])} to {duration(lengths[-1])}" if len(lengths) > 1 else duration(lengths[0])
        per_job = gpus or self.workers_a_job
        at_one_time = self.machine.max_array_tasks or max(1, len(tasks))
        lasts = max(lengths[-1], 3600 * hours / at_one_time)
        return {
            "time": f"about {duration(lasts)} once started, if no run ends early; {at_one_time:,} task(s) at once",
            "jobs": f"{len(arrays):,} array(s) of {len(tasks):,} task(s), each {between} at most",
            f"{'GPU' if gpus else 'CPU'}-hours": f"about {hours * per_job:.2g}, {per_job} a job",
            "scheduler calls": f"{len(arrays)} sbatch, 1 scontrol; squeue every {LEAST_SECONDS:.0f} s or more rarely",
        }

    def _submit(self, assignment: Assignment, store: Store, packs: Iterator[Pack]) -> Submission | None:
        """Draw all packs and hand them to SLURM, such that a kill at any moment doubles nothing and loses nothing."""
        first = next(packs, None)
        if first is None:
            return None
        if odd := {"%", "\\", "\n"} & set(str(store.path)):
            raise BackendError(
                f"{store.path}: SLURM reads {''.join(sorted(odd))!r} in a path in its own way; expected none. "
                "Choose another --out."
            )
        if self.machine.gpus_per_job and torch.version.cuda is None:
            self.launch.say(f"torch {torch.__version__} has no CUDA: jobs refuse to start where there is a GPU.")
        draft, jobs, report = Draft(store), list[str](), ""
        submission = draft.submission
        try:
            with submission.being_submitted():
                costs = self.costs(assignment.measure, store)
                draft.take((pack, len(pack.runs) * costs.of(pack.shape)) for pack in chain([first], packs))
                tasks = make_tasks(draft.bundles, self.lengths, self.workers_a_job)
                tasks, arrays = make_arrays(tasks, self._largest_array())
                draft.publish(tasks, arrays, assignment, self._circumstances())
                at_one_time = self.machine.max_array_tasks
                for array, share in enumerate(throttles(len(arrays), at_one_time)):
                    after = jobs[array - at_one_time :][:1] if at_one_time and array >= at_one_time else []
                    jobs.append(submit_array(submission, array, share, after))
                    submission.write_jobs(jobs)
                if self.launch.report:
                    others = [job for each in open_submissions(store) if each != submission for job in each.jobs]
                    report = submit_report(submission, [*others, *jobs])
                    submission.write_jobs(jobs, report)
                    self.report_submitted = True
        except BaseException as error:
            refused = isinstance(error, BackendError) and not isinstance(error, SchedulerError)
            if not submission.folder.is_published or (refused and not jobs):
                submission.folder.remove()  # nothing was asked of SLURM, or it refused: as if it had never been
            raise
        if submission.ended == CANCELLED:  # while sbatch was at it
            cancel([*jobs, *filter(None, [report])])
            raise KeyboardInterrupt
        self.launch.say(
            f"{store.path}: submitted {len(tasks)} array task(s) with {len(draft.bundles)} pack(s), "
            f"{'job' if len(jobs) == 1 else 'jobs'} {', '.join(jobs)}."
        )
        return submission

    def _largest_array(self) -> int:
        return min(largest_array(), self.machine.array_size or sys.maxsize)

    def _circumstances(self) -> dict[str, Any]:
        return {"time": time.time(), "host": platform.node(), "uid": os.getuid(), "machine": self.machine.model_dump()}
