"""Cost: how long a run takes at most, by its shape: as recorded, else as probed, else scaled from the nearest shape."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc
import torch

from relusweep.sweep.kernels.jit.compiled import announced_once
from relusweep.sweep.probe import probe
from relusweep.sweep.run import Run
from relusweep.sweep.shape import SHAPE_KEYS, Shape, shape_key, work
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.store import Store

_PROBED_SHAPES = 6  # the first ones asked for; the others are scaled from the nearest
_SUMS = ("seconds_sum", "seconds_count")


class Costs:
    """Seconds on one worker; probes as few shapes as possible, and each once."""

    def __init__(
        self,
        measure: Measure,
        device: torch.device,
        recorded: Mapping[Shape, float] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.measure, self.device, self.say = measure, device, cache(say)  # the same thing once
        self.known = dict(recorded or {})
        self.scaled: dict[Shape, float] = {}
        self._may_probe = 0 if self.known else _PROBED_SHAPES  # what was recorded there is nearer than a probe here

    def of(self, run: Run) -> float:
        """Return the seconds of a run of this shape: as recorded ones took, or at most where there are none."""
        shape = shape_key(run)
        if shape in self.known:
            return self.known[shape]
        if self._may_probe:
            self._may_probe -= 1
            with announced_once(self.say):
                self.known[shape] = probe([run], self.device).at_most(run, self.measure)
            return self.known[shape]
        if shape not in self.scaled:
            near = min(self.known, key=lambda other: abs(work(other) / work(shape) - 1))
            self.scaled[shape] = self.known[near] * work(shape) / work(near)
        return self.scaled[shape]


def recorded_costs(store: Store, *, on_gpu: bool) -> dict[Shape, float]:
    """Return the mean seconds of the recorded runs of each shape, of those trained on a GPU or on a CPU."""
    keys = list(SHAPE_KEYS)

    def sums(rows: Iterator[pa.Table]) -> list[pa.Table]:
        found = []
        for piece in rows:
            mine = piece.filter((pc.field("device") == "cpu") != on_gpu)
            found.append(mine.group_by(keys).aggregate([("seconds", "sum"), ("seconds", "count")]))
        return found

    tables = [table for part in store.each("runs", sums, [*keys, "seconds", "device"])[0] for table in part]
    if not tables:
        return {}
    total = pa.concat_tables(tables).group_by(keys).aggregate([(name, "sum") for name in _SUMS])
    rows = total.select([*keys, *(f"{name}_sum" for name in _SUMS)]).to_pylist()
    counted = [list(row.values()) for row in rows]
    return {tuple(shape): seconds / count for *shape, seconds, count in counted if count and seconds > 0}
