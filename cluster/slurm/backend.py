"""SLURM: packs as elements of job arrays, submitted through submitit; the truth about them is in the store's files."""

import os
import platform
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, final

import torch

from relusweep.cluster.backend import ATTEMPTS, BackendError, Foreseen, Job, Launch, Outcome, failure
from relusweep.cluster.cost import Costs, recorded_costs
from relusweep.cluster.progress import duration
from relusweep.cluster.slurm.array_task import steps_taken
from relusweep.cluster.slurm.arrays import Lengths, make_arrays, make_elements, throttles
from relusweep.cluster.slurm.machine import Machine
from relusweep.cluster.slurm.queue import CANCELLED, LEAST_SECONDS, Queue
from relusweep.cluster.slurm.sbatch import script, submit_array, submit_report
from relusweep.cluster.slurm.scheduler import SchedulerError, cancel, largest_array
from relusweep.cluster.slurm.submission import Bundle, Draft, Element, Submission, open_submissions
from relusweep.sweep.device import devices
from relusweep.sweep.pack import MAX_RUNS, Pack, point_bytes, run_bytes
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store
from relusweep.sweep.train import tile_size

_TICK_SECONDS = 0.5
_FILES_SECONDS = 1.0  # between looks at what the elements have said
_PACKS_PER_WORKER = 4
_SMALL_TILE = 32  # runs that are worth a pack even if workers then end unevenly
_MEMORY_SHARE = 0.5
_CORE_BYTES = 2 * 2**30  # what a core is taken to have where the machine file does not say
_GPU_BYTES = 16 * 2**30  # and a GPU: a login node cannot look
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@final
class Slurm:
    """A SLURM cluster, as a machine file describes it."""

    def __init__(self, workers: int | None = None, machine: Path | None = None, launch: Launch | None = None) -> None:
        if machine is None:
            raise BackendError("--on slurm: no machine file; expected --machine FILE. Copy slurm/example.toml.")
        if workers is not None:
            raise BackendError(f"--workers {workers}: the machine file says what a job has; leave it out.")
        self.machine = Machine.read(machine)
        self.lengths = Lengths.on(self.machine)
        self.launch = launch or Launch()
        self.report_submitted = False  # whether a job that writes the report has been submitted
        self.workers_a_job = self.machine.gpus_per_job or self.machine.cpus_per_task
        self.workers = self.lengths.at_one_time * self.workers_a_job
        self._costs: Costs | None = None

    @property
    def device(self) -> torch.device:
        """See `Backend`: a GPU if the jobs have some and this machine has one, else the CPU."""
        return devices()[0] if self.machine.gpus_per_job else torch.device("cpu")

    def costs(self, measure: Measure, store: Store | None) -> Costs:
        """Say what runs cost: as recorded in a store on such devices, else as probed here."""
        if self._costs is None:
            recorded = recorded_costs(store, on_gpu=bool(self.machine.gpus_per_job)) if store else {}
            self._costs = Costs(measure, self.device, recorded, self.launch.say)
        return self._costs

    def pack_size(self, run: Run, measure: Measure, missing: int) -> int:
        """See `Backend`: bounded by memory, and so that a pack is no longer than the shortest element."""
        needed = run_bytes(run, measure)
        room = int(_MEMORY_SHARE * self._worker_bytes())
        fitting = (room - point_bytes(run)) // needed
        if fitting < 1:
            raise BackendError(
                f"a run with n = {run.n}, n_test = {run.n_test}, d = {run.d}, width = {run.width} takes "
                f"{(needed + point_bytes(run)) / 2**30:.1f} GiB; expected at most {room / 2**30:.1f} GiB a worker. "
                "Raise mem in the machine file or use smaller runs."
            )
        if missing == 1:  # no pack yet, only whether a run fits
            return 1
        fair = -(-missing // (_PACKS_PER_WORKER * self.workers))
        lasting = int(self.lengths.least / self.costs(measure, None).of(run))
        return max(1, min(MAX_RUNS, fitting, lasting, max(fair, min(tile_size(run, self.device), _SMALL_TILE))))

    def _worker_bytes(self) -> int:
        if self.machine.gpus_per_job:
            return _GPU_BYTES
        mem = (self.machine.mem or "0").upper()
        given = int(mem.rstrip("KMGT")) * _UNITS.get(mem[-1], _UNITS["M"])
        return given // self.workers_a_job or _CORE_BYTES

    def train(self, job: Job, packs: Iterator[Pack], tick: Callable[[], None]) -> Iterator[Outcome]:
        """See `Backend`. Packs whose job died are submitted again, up to `ATTEMPTS` times without getting further.

        Raises:
            BackendError: if sbatch refuses, or an element did not get what the machine file says.
            KeyboardInterrupt: if a signal came: the jobs go on; or if `relusweep cancel` ended them.
        """
        if shutil.which("sbatch") is None:
            raise BackendError("sbatch: not found on this machine; expected SLURM. Use a login node.")
        store = Store(job.store.absolute())
        self._costs = None
        self.costs(job.measure, store)
        retries = _Retries(store)
        while (submission := self._submit(job, store, packs)) is not None and self.launch.stay:
            for number, state in _ends(submission, tick):
                if state is None:
                    yield from _outcomes(submission, number)
                else:
                    yield from retries.outcomes(submission, number, state)
            packs = retries.take()

    def foresee(self, packs: Iterable[tuple[int, float]], store: Path) -> Foreseen:
        """See `QueueingBackend`."""
        bundles = [Bundle("", *pack) for pack in packs]
        elements = make_elements(bundles, self.lengths, self.workers_a_job)
        elements, arrays = make_arrays(elements, self._largest_array())
        shares = throttles(len(arrays), self.machine.max_array_tasks)
        folder = store.absolute() / "jobs" / "<submission>"
        name = "relusweep-<submission>.0"
        text = script(self.machine, name, folder / "logs", len(arrays[0]), shares[0]) if arrays else ""
        return Foreseen(self._rows(elements, arrays), text)

    def _rows(self, elements: list[Element], arrays: list[range]) -> dict[str, str]:
        """Say what SLURM would be asked for."""
        gpus = self.machine.gpus_per_job
        hours = sum(element.seconds for element in elements) / 3600
        lengths = sorted(element.seconds for element in elements) or [0.0]
        between = f"{duration(lengths[0])} to {duration(lengths[-1])}" if len(lengths) > 1 else duration(lengths[0])
        per_job = gpus or self.workers_a_job
        at_one_time = self.machine.max_array_tasks or max(1, len(elements))
        lasts = max(lengths[-1], 3600 * hours / at_one_time)
        return {
            "time": f"about {duration(lasts)} once started, if no run ends early; {at_one_time:,} element(s) at once",
            "jobs": f"{len(arrays):,} array(s) of {len(elements):,} element(s), each {between} at most",
            f"{'GPU' if gpus else 'CPU'}-hours": f"about {hours * per_job:.2g}, {per_job} a job",
            "scheduler calls": f"{len(arrays)} sbatch, 1 scontrol; squeue every {LEAST_SECONDS:.0f} s or more rarely",
        }

    def _submit(self, job: Job, store: Store, packs: Iterator[Pack]) -> Submission | None:
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
                costs = self.costs(job.measure, store)
                draft.take((pack, len(pack.runs) * costs.of(pack.shape)) for pack in chain([first], packs))
                elements = make_elements(draft.bundles, self.lengths, self.workers_a_job)
                elements, arrays = make_arrays(elements, self._largest_array())
                draft.publish(elements, arrays, job, self._told())
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
            if not submission.is_published or (refused and not jobs):
                submission.remove()  # nothing was asked of SLURM, or it refused: as if it had never been
            raise
        if submission.ended == CANCELLED:  # while sbatch was at it
            cancel([*jobs, *filter(None, [report])])
            raise KeyboardInterrupt
        self.launch.say(
            f"{store.path}: {len(elements)} element(s) with {len(draft.bundles)} pack(s) are in SLURM's hands, "
            f"{'job' if len(jobs) == 1 else 'jobs'} {', '.join(jobs)}."
        )
        return submission

    def _largest_array(self) -> int:
        return min(largest_array(), self.machine.array_size or sys.maxsize)

    def _told(self) -> dict[str, Any]:
        return {"time": time.time(), "host": platform.node(), "uid": os.getuid(), "machine": self.machine.model_dump()}


def _ends(submission: Submission, tick: Callable[[], None]) -> Iterator[tuple[int, str | None]]:
    """Yield each element when nothing comes of it any more: by itself (None), or with the state that SLURM gave it.

    What an element said is believed first, the queue where it said nothing, accounting where the queue has forgotten.
    """
    queue, known = Queue(), set[int]()
    looked = 0.0
    while len(known) < len(submission.elements):
        tick()
        time.sleep(_TICK_SECONDS)
        if time.monotonic() - looked < _FILES_SECONDS:
            continue
        looked = time.monotonic()
        if submission.ended == CANCELLED:
            raise KeyboardInterrupt
        for number in sorted(submission.ends() - known):
            known.add(number)
            yield number, None
        queue.look([submission])
        gone = {number for _, number in queue.gone} - known
        states = queue.last_states(submission, gone)
        for number in sorted(gone - submission.ends()):
            known.add(number)
            yield number, states[number]
    submission.end("nothing is left to its elements")


def _outcomes(submission: Submission, number: int) -> Iterator[Outcome]:
    """What an element said at its end, pack by pack.

    Raises:
        StoreError: if it could not write.
        BackendError: if it could not work.
    """
    said = submission.end_of(number)
    if said.get("error"):
        raise (StoreError if said["kind"] == "StoreError" else BackendError)(said["error"])
    for pack in submission.packs(submission.elements[number].packs):
        kind, error = said["outcomes"].get(pack.id, ["recorded", ""])  # by others, before it came to it
        yield Outcome(pack, kind, error)


class _Retries:
    """Packs of elements that died, and how often each has without getting further."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.packs: list[Pack] = []
        self.since = 0.0
        self.attempts: Counter[str] = Counter()
        self.steps: dict[str, float] = {}

    def take(self) -> Iterator[Pack]:
        """Give the packs to be submitted again, but for those that another element has recorded meanwhile."""
        packs, self.packs = self.packs, []
        recorded = self.store.recorded_since(self.since, set()) if packs else RunIds()
        return (pack for pack in packs if not {run.id for run in pack.runs} <= recorded)

    def outcomes(self, submission: Submission, number: int, state: str) -> Iterator[Outcome]:
        """Keep the packs of a dead element that are worth another attempt; yield the outcomes of the others."""
        begun = submission.account_of(number).get("begun") or [
            submission.bundles[pack].pack_id for pack in submission.elements[number].packs
        ]
        task = submission.task_of(number) or f"{submission.id}.{number}"
        self.since = submission.job.since
        recorded = self.store.recorded_since(self.since, set())
        for pack in submission.packs(submission.elements[number].packs):
            rest = tuple(run for run in pack.runs if run.id not in recorded)
            if not rest:
                yield Outcome(pack, "recorded")
                continue
            steps = steps_taken(self.store, [pack.id])
            if steps > self.steps.get(pack.id, 0.0) or len(rest) < len(pack.runs):
                self.attempts[pack.id] = 0
            elif pack.id in begun:
                self.attempts[pack.id] += 1
            self.steps[pack.id] = steps
            if state == "CANCELLED" or self.attempts[pack.id] >= ATTEMPTS:
                times = f", {self.attempts[pack.id]} times without getting further" if state != "CANCELLED" else ""
                outcome = Outcome(pack, "failed", f"its job {task} ended as {state}{times}. See {submission.path}/logs")
                self.store.write_failure(pack.id, failure(outcome, self.attempts[pack.id]))
                yield outcome
            else:
                self.packs.append(pack if len(rest) == len(pack.runs) else Pack(rest))
