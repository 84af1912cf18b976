"""Pack: runs of equal tensor shape, trained together on one device."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from relusweep.sweep.record import MOMENT_MEASURES
from relusweep.sweep.run import Run
from relusweep.sweep.shape import Shape, buffer_count, hidden_units, number_bytes, parameter_count, shape_key
from relusweep.sweep.spec import Measure

MAX_RUNS = 4096  # a pack is also the unit of retry and of one Parquet part

FORMED = 1024  # a matrix of more rows costs more than products with its factors
_ROW_BYTES = 10_000  # a row of the table runs, as Python's objects


@dataclass(frozen=True)
class Pack:
    """Runs stacked on axis 0."""

    runs: tuple[Run, ...]

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits: the hash of the ids of its runs, in any order."""
        return pack_id(run.id for run in self.runs)

    @property
    def halves(self) -> tuple["Pack", ...]:
        """Both halves; of a single run, the pack itself."""
        half = len(self.runs) // 2
        return (Pack(self.runs[:half]), Pack(self.runs[half:])) if half else (self,)

    @property
    def shape(self) -> Run:
        """Any run of the pack; all agree in `SHAPE_KEYS`."""
        return self.runs[0]


def pack_id(run_ids: Iterable[str]) -> str:
    """Return what a pack of these runs is called."""
    return hashlib.blake2b("".join(sorted(run_ids)).encode(), digest_size=8).hexdigest()


def make_packs(runs: Iterable[Run], size: Callable[[Run], int]) -> Iterator[Pack]:
    """Yield packs of runs of equal shape, in the order of the runs; memory is bounded by one unfinished pack a shape.

    Args:
        runs: What is to be trained.
        size: The most runs of this shape that a pack may hold; asked once a pack.
    """
    waiting: dict[Shape, tuple[int, list[Run]]] = {}
    for run in runs:
        key = shape_key(run)
        if key not in waiting:
            waiting[key] = size(run), []
        most, group = waiting[key]
        group.append(run)
        if len(group) >= most:
            yield Pack(tuple(group))
            del waiting[key]
    for _, group in waiting.values():
        yield Pack(tuple(group))


def point_bytes(run: Run) -> int:
    """Return the bytes that measuring one run takes: activations, derivatives, Gram matrices, Lanczos vectors."""
    count, units = parameter_count(run), run.d + hidden_units(run)
    formed = run.n * min(run.n, count) if min(run.n, count) <= FORMED else 0
    return 8 * (3 * formed + 40 * count + 12 * max(run.n, run.n_test) * units)


def run_bytes(run: Run, measure: Measure) -> int:
    """Return the bytes that a pack needs for each run at most: alone with its data, measured, about to be recorded.

    What has been measured lies in memory up to four times: as it was found, as a column, in Arrow's form, in a state on
    its way to the disk.
    """
    count = parameter_count(run)
    state = number_bytes(run) * count * (2 + buffer_count(run))
    data = 8 * (run.n * (run.d + 2) + run.n_test * (run.d + 1))
    weights = 4 * 8 * count if measure.save_weights else 0
    a_moment = len(MOMENT_MEASURES) + 3 + (count if measure.save_weights == "moments" else 0)
    moments = 4 * 8 * a_moment * len(measure.moments(run.max_steps))
    spectrum = 4 * 32 * count if "spectrum" in measure.extra else 0  # as a list of Python's numbers
    return state + data + weights + moments + spectrum + _ROW_BYTES
