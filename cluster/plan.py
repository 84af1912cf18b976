"""Plan: what a sweep would train, in how many packs, files and seconds; submits nothing and writes nothing."""

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from operator import attrgetter

import torch

from cluster.backend import Backend
from sweep.data import DATA_KEYS, dataset
from sweep.ids import RunIds
from sweep.pack import shape_key
from sweep.probe import probe
from sweep.run import Run
from sweep.spec import Measure, Spec

_PROBED_SHAPES = 6  # the most costly ones by multiply-adds; the others are scaled from the nearest
_kind_of_data = attrgetter(*(key for key in DATA_KEYS if key != "data_seed"))


@dataclass(frozen=True)
class Plan:
    """Counts of what is to be trained, and at most how long it takes."""

    runs: int
    recorded: int
    packs: int
    shapes: int
    files: int
    seconds: float
    workers: int

    @property
    def missing(self) -> int:
        """Runs to train."""
        return self.runs - self.recorded


def check(spec: Spec, backend: Backend) -> RunIds:
    """Look at every run, its memory and its kind of data before anything is trained or written.

    Returns:
        The ids of all runs.

    Raises:
        SpecError: for the first run that makes no sense.
        BackendError: for the first run that no worker has room for.
        DataError: for the first data set that cannot be had.
    """
    return RunIds(run.id for run in _checked(spec, backend))


def _checked(spec: Spec, backend: Backend) -> Iterator[Run]:
    shapes, kinds = set(), set()
    for run in spec.expand():
        shape = shape_key(run)
        if shape not in shapes:
            shapes.add(shape)
            backend.pack_size(run, spec.measure, 1)
        kind = _kind_of_data(run)
        if kind not in kinds:
            kinds.add(kind)
            dataset(run.__dict__)
        yield run


def plan(spec: Spec, recorded: Set[str], backend: Backend) -> Plan:
    """Check a spec, count packs and files, and probe how long the runs take at most, each using all its steps."""
    runs, waiting = 0, 0
    amounts: Counter[tuple[object, ...]] = Counter()
    examples: dict[tuple[object, ...], Run] = {}
    for run in _checked(spec, backend):
        runs += 1
        if run.id not in recorded:
            waiting += 1
            amounts[shape_key(run)] += 1
            examples.setdefault(shape_key(run), run)
    packs = sum(-(-amounts[shape] // backend.pack_size(run, spec.measure, waiting)) for shape, run in examples.items())
    tables = 1 + (spec.measure.every != "end") + spec.measure.save_weights
    return Plan(
        runs=runs, recorded=runs - waiting, packs=packs, shapes=len(amounts), files=packs * tables,
        seconds=_seconds(amounts, examples, spec.measure, backend.device) / backend.workers, workers=backend.workers,
    )  # fmt: skip


def _seconds(
    amounts: Counter[tuple[object, ...]],
    examples: dict[tuple[object, ...], Run],
    measure: Measure,
    device: torch.device,
) -> float:
    def work(run: Run) -> float:
        return (run.batch_size or run.n) * (run.width * (run.d + 1) + (run.width2 or 0) * run.width)

    shapes = sorted(amounts, key=lambda shape: -amounts[shape] * work(examples[shape]) * examples[shape].max_steps)
    costs = {shape: probe([examples[shape]], device) for shape in shapes[:_PROBED_SHAPES]}
    total = 0.0
    for shape in shapes:
        run = examples[shape]
        near = min(costs, key=lambda other: abs(work(examples[other]) / work(run) - 1)) if shape not in costs else shape
        scale = work(run) / work(examples[near])
        total += amounts[shape] * scale * costs[near].at_most(run, measure)
    return total
