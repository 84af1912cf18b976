"""Pack: runs of equal tensor shape, trained together on one device."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

from sweep.run import Run

MAX_RUNS = 4096  # a pack is also the unit of retry and of one Parquet part

BUFFERS = {"gd": 0, "sgd": 0, "momentum": 1, "adam": 2}  # what an optimizer remembers, in copies of the parameters

# What has to be equal in a pack: everything that sets a tensor's shape, the program or the number of steps.
SHAPE_KEYS = (
    "d", "n", "n_test", "depth", "width", "width2", "bias", "activation", "optimizer", "batch_size", "max_steps",
    "dtype",
)  # fmt: skip
_shape = attrgetter(*SHAPE_KEYS)  # asked of every run of a sweep: a loop over the keys takes twice as long


@dataclass(frozen=True)
class Pack:
    """Runs stacked on axis 0."""

    runs: tuple[Run, ...]

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits: the hash of the ids of its runs, in any order."""
        ids = "".join(sorted(run.id for run in self.runs))
        return hashlib.blake2b(ids.encode(), digest_size=8).hexdigest()

    @property
    def shape(self) -> Run:
        """Any run of the pack; all agree in `SHAPE_KEYS`."""
        return self.runs[0]


def shape_key(run: Run) -> tuple[Any, ...]:
    """Runs with equal keys fit in one pack."""
    return _shape(run)


def make_packs(runs: Iterable[Run], size: Callable[[Run], int]) -> Iterator[Pack]:
    """Group runs by shape, in their order; memory is bounded by one unfinished pack a shape.

    Args:
        runs: What is to be trained.
        size: The most runs of this shape that a pack may hold.
    """
    waiting: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        group = waiting.setdefault(shape_key(run), [])
        group.append(run)
        if len(group) >= size(run):
            yield Pack(tuple(group))
            group.clear()
    for group in waiting.values():
        if group:
            yield Pack(tuple(group))


def parameter_count(run: Run) -> int:
    """Trained numbers of one network."""
    sizes = [run.d, run.width, *([run.width2] if run.width2 else []), 1]
    return sum((inputs + run.bias) * outputs for inputs, outputs in itertools.pairwise(sizes))


def run_bytes(run: Run) -> int:
    """Bytes that a pack keeps for each of its runs between two windows of steps, if no run shares its data."""
    buffers = BUFFERS[run.optimizer]
    width = 8 if run.dtype == "float64" else 4
    data = run.n * (run.d + 2 + (run.teacher_width or 0))
    as_row = 100 * parameter_count(run)  # the weights as Python numbers on their way to Parquet, if they are saved
    return width * (parameter_count(run) * (2 + buffers) + data) + 8 * run.n_test * (run.d + 1) + as_row
