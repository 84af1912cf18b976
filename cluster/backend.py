"""The contract between a sweep and a place to run it, and the literal list of places."""

import importlib
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.files import Failure

if TYPE_CHECKING:
    import torch

    from relusweep.cluster.cost import Costs
    from relusweep.sweep.store.store import Store

ATTEMPTS = 3  # a pack whose worker crashed is tried this often before its runs are listed as failed


class BackendError(RelusweepError):
    """A back-end cannot be used as asked: the message says what is wrong and what would help."""


@dataclass(frozen=True)
class Assignment:
    """What every worker needs to know besides its packs."""

    store: Path
    measure: Measure
    backend: str
    checkpoint_seconds: float
    since: float = 0.0  # by the store's clock, before the launcher first looked at what is recorded


@dataclass(frozen=True)
class Outcome:
    """What became of a pack.

    recorded: its rows are in the store. elsewhere: another launcher has it, or some of its runs. interrupted: it was
    asked to stop and has written its state. failed: it crashed; `error` is one line, `trace` the rest.
    """

    pack: Pack
    kind: Literal["recorded", "elsewhere", "interrupted", "failed"]
    error: str = ""
    trace: str = ""
    out_of_memory: bool = False

    @property
    def next_attempt(self) -> tuple[Pack, ...]:
        """What to train after it failed: the pack again; where memory was too little, its halves."""
        return self.pack.halves if self.out_of_memory else (self.pack,)


def failure(outcome: Outcome, attempts: int) -> Failure:
    """Return what a failure file says."""
    return {
        "pack_id": outcome.pack.id,
        "run_ids": [run.id for run in outcome.pack.runs],
        "error": outcome.error,
        "trace": outcome.trace,
        "attempts": attempts,
        "host": platform.node(),
        "time": time.time(),
    }


@dataclass(frozen=True)
class LaunchOptions:
    """What a launcher wishes besides the training; a machine of one's own can do nothing about it."""

    say: Callable[[str], None] = lambda line: None  # reports to the user what becomes of packs that are sent elsewhere
    stay: bool = True  # until all is trained, or only until it is submitted
    report: bool = False  # whether a job that writes the report comes after the others


class Backend(Protocol):
    """A place where packs run.

    A back-end trains each pack by `worker.Worker`, so that every place records alike; retries crashes up to `ATTEMPTS`
    times; and never decides what is done: the store does.
    """

    workers: int

    @property
    def device(self) -> "torch.device":
        """A device of this machine, as like those of the workers as there is: where `plan` times a run."""
        ...

    def pack_size(self, run: Run, measure: Measure, missing: int) -> int:
        """Return how many runs of this shape to put into one pack when so many runs are to be trained.

        Raises:
            BackendError: if not even one fits.
        """
        ...

    def train(self, assignment: Assignment, packs: Iterator[Pack], tick: Callable[[], None]) -> Iterator[Outcome]:
        """Train packs, drawn from the iterator as workers become free; yield each one's last outcome.

        Args:
            assignment: Where to record and what to measure.
            packs: What to train.
            tick: Called about twice a second, to show progress.

        Raises:
            StoreError: if the store cannot be written any more.
            KeyboardInterrupt: if a signal asked to stop; by then all states are written, or jobs go on without us.
        """
        ...


@dataclass(frozen=True)
class Foreseen:
    """What would be submitted to a scheduler: rows that a plan shows, by name, and the script of the first job."""

    rows: dict[str, str]
    script: str


@runtime_checkable
class QueueingBackend(Backend, Protocol):
    """A back-end that submits packs to a scheduler's queue, such as SLURM, and may return before they are trained."""

    @property
    def report_submitted(self) -> bool:
        """Whether a job that writes the report has been submitted."""
        ...

    def costs(self, measure: Measure, store: "Store | None") -> "Costs":
        """Return what runs cost there: as recorded in a store, else as probed on this machine."""
        ...

    def foresee(self, packs: Iterable[tuple[int, float]], store: Path) -> Foreseen:
        """Return what would be submitted for packs of so many runs and seconds each; submits nothing."""
        ...


def backend(
    name: str, workers: int | None, machine: Path | None = None, launch: LaunchOptions | None = None
) -> Backend:
    """Load a back-end; its libraries are imported now, not before.

    Args:
        name: One of `BACKENDS`.
        workers: Processes on this machine.
        machine: The machine file of a cluster.
        launch: What else is wished.

    Raises:
        BackendError: if there is no such back-end, or it cannot be used so.
    """
    return _class_of(name)(workers, machine, launch or LaunchOptions())


def submits_jobs(name: str) -> bool:
    """Return whether a back-end is a `QueueingBackend`, without building it: that may take a cluster.

    Raises:
        BackendError: if there is no such back-end.
    """
    return all(hasattr(_class_of(name), method) for method in ("costs", "foresee"))


def _class_of(name: str) -> Callable[[int | None, Path | None, LaunchOptions], Backend]:
    check_name(name)
    module, attribute = BACKENDS[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def check_name(name: str) -> None:
    """Refuse a back-end that does not exist.

    Raises:
        BackendError: if it does not.
    """
    if name not in BACKENDS:
        raise BackendError(f"--on {name}: unknown back-end; expected one of {', '.join(BACKENDS)}.")


BACKENDS = {
    "local": "relusweep.cluster.local.backend:Local",
    "slurm": "relusweep.cluster.slurm.backend:Slurm",
    "ray": "relusweep.cluster.ray.backend:RayTune",
}
