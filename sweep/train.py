"""Training: a pack as tensors on a device, advanced window by window, finished runs taken out."""

import ctypes
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from relusweep.sweep.data import DATA_KEYS, dataset
from relusweep.sweep.kernels.training.choice import choose
from relusweep.sweep.kernels.training.kernel import Kernel, Tile
from relusweep.sweep.model import Architecture, Inputs, initial_parameters, with_ones
from relusweep.sweep.optimize import Rates
from relusweep.sweep.pack import Pack
from relusweep.sweep.point import Point
from relusweep.sweep.run import Run
from relusweep.sweep.shape import buffer_count

CHECK_STEPS = 200  # a run can end at multiples of this, and at its max_steps
CHECKS_IN_A_ROW = 5  # to be passed: at lr · sharpness / 2 = 1.01 a deviation grows e^20-fold meanwhile
DIVERGED = 1e10  # a loss above this many times max(initial loss, 1) never comes back

State = dict[str, Tensor]


class Training:
    """The runs of a pack that are not finished, in lockstep.

    All tensors of `state` have one row a run in training; `position` says which run of `runs` a row is. Runs are sorted
    by data set, so that neighbours share their inputs.
    """

    def __init__(self, pack: Pack, device: torch.device) -> None:
        _keep_freed_memory()
        self.runs = in_order(pack.runs)
        self.shape = pack.shape
        self.device = device
        self.architecture = Architecture.of(pack.shape)
        self.dtype = getattr(torch, pack.shape.dtype)
        self.kernel: Kernel = choose(pack.shape, device)
        example = {_data_key(run): run for run in self.runs}  # one run of each data set
        sets = [dataset(run.model_dump()) for run in example.values()]
        order = {key: index for index, key in enumerate(example)}
        self._which = [order[_data_key(run)] for run in self.runs]
        self._train = self._tensors([data.x for data in sets], [data.y for data in sets])
        self._test = self._tensors([data.x_test for data in sets], [data.y_test for data in sets])
        self._rates = Rates.of(self.runs, self.architecture, self.dtype, device)
        self._tolerance = torch.tensor([run.tolerance for run in self.runs], dtype=self.dtype, device=device)
        self._varying_until = max(
            run.warmup_steps if run.schedule == "constant" else run.max_steps for run in self.runs
        )
        self.step = 0
        self._last: tuple[slice, tuple[Rates, Inputs, Tensor]] | None = None
        self.cursor = 0  # rows that have been advanced from `step` to the next stop already
        self.state = self._start()

    def _tensors(self, xs: list[Any], ys: list[Any]) -> tuple[Tensor, Tensor]:
        x = with_ones(torch.stack([torch.from_numpy(x) for x in xs]).to(self.device), self.shape.bias)
        # one feature after the other: the products with few features are then up to three times as fast
        return x.mT.contiguous().mT, torch.stack([torch.from_numpy(y) for y in ys]).to(self.device)

    def _start(self) -> State:
        theta = torch.stack([torch.from_numpy(initial_parameters(run)) for run in self.runs])
        theta = theta.to(self.device, self.dtype)
        count = len(self.runs)
        state = {
            "position": torch.arange(count, device=self.device),
            "theta": theta,
            "peak": torch.zeros(count, dtype=self.dtype, device=self.device),
            "limit": torch.zeros(count, dtype=self.dtype, device=self.device),
            "passes": torch.zeros(count, dtype=torch.int64, device=self.device),
        }
        state |= {f"buffer{index}": torch.zeros_like(theta) for index in range(buffer_count(self.shape))}
        self.state = state
        for rows in self.tiles(self.tile_size):
            state["limit"][rows] = DIVERGED * self.losses(rows).clamp(min=1)
        return state

    def __len__(self) -> int:
        return len(self.state["position"])

    @property
    def tile_size(self) -> int:
        """How many runs the kernel advances together."""
        return self.kernel.tile_size(self.shape, self.device)

    def tiles(self, size: int, start: int = 0) -> Iterator[slice]:
        """Yield the rows in training in tiles of at most `size`."""
        for first in range(start, len(self), size):
            yield slice(first, min(first + size, len(self)))

    def inputs(
        self, rows: slice | Tensor, *, test: bool = False, dtype: torch.dtype | None = None
    ) -> tuple[Inputs, Tensor]:
        """Return x, (n, i) if these rows share their data, else (B, n, i), and y (B, n)."""
        positions = self.state["position"][rows].tolist()
        which = [self._which[position] for position in positions]
        x, y = self._test if test else self._train
        x = x[which[0]] if len(set(which)) == 1 else x[which]
        return x.to(dtype or self.dtype), y[which].to(dtype or self.dtype)

    def rates(self, rows: slice | Tensor) -> Rates:
        """Return the per-run numbers of these rows."""
        return self._rates.rows(self.state["position"][rows])

    def tile(self, rows: slice) -> Tile:
        """Return these rows as kernels take them: views of the state, with the runs' rates and data."""
        buffers = tuple(self.state[f"buffer{index}"][rows] for index in range(buffer_count(self.shape)))
        return Tile(self.shape, self.state["theta"][rows], buffers, self.state["peak"][rows], *self._given(rows))

    def _given(self, rows: slice) -> tuple[Rates, Inputs, Tensor]:
        """Return rates, x and y of a tile; those of the last one are kept, since a pack is often a single tile."""
        if self._last is None or self._last[0] != rows:
            self._last = (rows, (self.rates(rows), *self.inputs(rows)))
        return self._last[1]

    def point(self, rows: slice | Tensor, *, test: bool = False) -> Point:
        """Return where these rows stand, as measures take it: in float64, with the training or the test set."""
        x, y = self.inputs(rows, test=test, dtype=torch.float64)
        slope = self.rates(rows).slope
        theta = self.state["theta"][rows].double()
        return Point(self.architecture, theta, x, y, None if slope is None else slope.double())

    def losses(self, rows: slice) -> Float[Tensor, " B"]:
        """Compute the losses of a tile over the whole training set."""
        return self.kernel.losses(self.tile(rows))

    def advance(self, stop: int, heartbeat: Callable[[], None]) -> None:
        """Take all runs to step `stop`, tile by tile; `heartbeat`, called after each tile, may raise to interrupt."""
        for rows in self.tiles(self.tile_size, self.cursor):
            self.kernel.advance(self.tile(rows), self.step, stop, self._varying_until)
            self.cursor = rows.stop
            heartbeat()
        self.step, self.cursor = stop, 0

    def check_convergence(self) -> tuple[Int[Tensor, " B"], Bool[Tensor, " B"]]:
        """Count the checks that each run has passed in a row, and find those that have diverged; changes nothing.

        A run passes if the loss now, and every loss met since the last check, is at most the tolerance; it has
        converged when it has passed CHECKS_IN_A_ROW. Near an unstable minimum the loss dips below the tolerance and
        comes back; only where it stays is there a stable one. (For mini-batches the losses met are those of the
        batches.) Diverged: a loss was NaN, infinite, or above DIVERGED · max(L₀, 1).
        """
        loss = torch.cat([self.losses(rows) for rows in self.tiles(self.tile_size)])
        peak = torch.maximum(self.state["peak"], loss)
        diverged = ~((peak <= self.state["limit"]) & peak.isfinite())  # also where peak is NaN
        tolerance = self._tolerance[self.state["position"]]
        passes = torch.where((peak <= tolerance) & (tolerance > 0), self.state["passes"] + 1, 0)
        return passes, diverged

    def go_on(self, rows: Bool[Tensor, " B"], passes: Int[Tensor, " B"]) -> None:
        """Take all other runs out of the training, and begin the window of the next check."""
        self.state["passes"] = passes
        if not bool(rows.all()):
            self.state = {name: tensor[rows] for name, tensor in self.state.items()}
            self._last = None
        self.state["peak"].zero_()

    def left(self, rows: Bool[Tensor, " B"], passes: Int[Tensor, " B"]) -> tuple[list[Run], State]:
        """Return some runs, and their state as the next step would find it, had they not come to their end here.

        Args:
            rows: Which ones.
            passes: What the check at the end has found; it counts where there would have been one anyway.
        """
        state = {name: tensor[rows].cpu() for name, tensor in self.state.items()}
        if self.step % CHECK_STEPS == 0:
            state |= {"passes": passes[rows].cpu(), "peak": torch.zeros_like(state["peak"])}
        return [self.runs[position] for position in state["position"].tolist()], state

    def save(self) -> dict[str, Any]:
        """Return everything that the training needs to go on, as tensors and numbers."""
        return {
            "step": self.step,
            "cursor": self.cursor,
            "ids": [run.id for run in self.runs],
            "state": {name: tensor.cpu() for name, tensor in self.state.items()},
        }

    def restore(self, saved: Mapping[str, Any], ended: Collection[str] = ()) -> None:
        """Go on where `saved` was taken, when the runs with these ids had ended.

        Raises:
            ValueError, TypeError, KeyError: if it is not of these runs; then nothing has changed.
        """
        ids = [run.id for run in self.runs]
        step, cursor, state = saved["step"], saved["cursor"], dict[str, Tensor](saved["state"])
        if saved["ids"] != ids or state.keys() != self.state.keys():
            raise ValueError("a checkpoint of other runs")
        rows = [place for place, run_id in enumerate(ids) if run_id not in ended]
        if sorted(state["position"].tolist()) != rows or not cursor <= len(rows) or not step <= self.shape.max_steps:
            raise ValueError("a checkpoint that lacks runs")
        for name, now in self.state.items():
            kept = state[name]
            if kept.layout != now.layout or kept.dtype != now.dtype or kept.shape != (len(rows), *now.shape[1:]):
                raise ValueError(f"{name} of another shape")
        self.step, self.cursor = step, cursor
        self.state = {name: tensor.to(self.device).contiguous() for name, tensor in state.items()}
        self._last = None


def in_order(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Return runs in the order in which they are trained."""
    return tuple(sorted(runs, key=lambda run: (_data_key(run), run.id)))


def _data_key(run: Run) -> tuple[Any, ...]:
    return tuple(repr(getattr(run, key)) for key in DATA_KEYS)


def tile_size(run: Run, device: torch.device) -> int:
    """Return how many runs of this shape are advanced together on the device."""
    return choose(run, device).tile_size(run, device)


@cache
def _keep_freed_memory() -> None:
    """Ask the C library, once a process, to keep what is freed for the next allocation.

    Every step allocates and frees the same few activations. By default glibc gives such blocks back to the kernel and
    fetches them anew, page fault by page fault: up to half of the time of a step. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3
        mallopt(m_mmap_threshold, 2**30)
        mallopt(m_trim_threshold, 2**31 - 1)
