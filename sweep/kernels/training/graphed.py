"""The kernel for networks too large for a warp of a GPU: the reference's step, captured once, replayed as a CUDA graph.

A step of the reference is some twenty launches that take longer than what they launch; a graph is one. Since a replay
reads and writes the same memory every time, what changes from step to step lies in tensors too: the step's number, and
its mini-batch. The step is held against the reference on a CPU; the capture *has not run on a GPU yet*.
"""

from functools import cache
from typing import Any

import torch

from relusweep.sweep.kernels.training import plain
from relusweep.sweep.kernels.training.kernel import Tile
from relusweep.sweep.model import Architecture, gradient
from relusweep.sweep.optimize import update
from relusweep.sweep.run import Run

NAME = "graph"
OPTIMIZERS = plain.OPTIMIZERS
_WARM_UP = 3  # steps before the capture, in which libraries take the memory that they work in

tile_size, losses = plain.tile_size, plain.losses


def supports(run: Run, device: torch.device) -> bool:
    """Return whether this kernel trains runs of this shape on the device."""
    return device.type == "cuda" and run.optimizer in OPTIMIZERS and not run.label_noise


class Step:
    """One step of some runs, in memory that stays where it is."""

    def __init__(self, tile: Tile) -> None:
        self.tile, self.architecture, self.device = tile, Architecture.of(tile.run), tile.theta.device
        self.number = torch.zeros((), dtype=torch.float64, device=self.device)
        size = (len(tile.theta), tile.run.batch_size)
        self.batch = torch.zeros(size, dtype=torch.int64, device=self.device) if tile.run.batch_size else None
        self.taken = 0
        self.graph: Any = None

    def is_of(self, tile: Tile) -> bool:
        """Return whether this is the tile's step: what changes is the memory held here, all else the very same."""
        own = self.tile
        unchanged = (own.run is tile.run, own.rates is tile.rates, own.x is tile.x, own.y is tile.y)
        return _memory(own) == _memory(tile) and all(unchanged)

    def take(self) -> None:
        """Launch the step, operation by operation."""
        run, theta, buffers, peak, rates, x, y = self.tile
        inputs, targets = (x, y) if self.batch is None else plain.batch_of(x, y, self.batch)
        g, loss = gradient(self.architecture, theta, inputs, targets, rates.slope)
        torch.maximum(peak, loss, out=peak)
        factor = rates.factors(self.number[None].to(theta.dtype))
        update(run.optimizer, theta, buffers, g, rates, self.number, factor)
        self.number += 1

    def __call__(self) -> None:
        """Take the step: by replay once it has been captured."""
        self.taken += 1
        if self.device.type != "cuda":
            self.take()
        elif self.taken <= _WARM_UP:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                self.take()
            torch.cuda.current_stream().wait_stream(aside)
        else:
            if self.graph is None:
                self.graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.graph):
                    self.take()  # recorded, not taken
            self.graph.replay()


def _memory(tile: Tile) -> list[tuple[int, torch.Size]]:
    """Return where those tensors lie that a step changes."""
    return [(tensor.data_ptr(), tensor.shape) for tensor in (tile.theta, *tile.buffers, tile.peak)]


@cache
def _kept() -> list[Step]:
    """Return the last step: a pack is one tile, whose memory stays from window to window until runs end."""
    return []


@torch.inference_mode()
def advance(tile: Tile, start: int, stop: int, varying_until: int) -> None:
    """Take the steps start … stop-1 in place."""
    kept = _kept()
    if not (kept and kept[0].is_of(tile)):
        kept.clear()  # and with it the memory of its graph
        kept.append(Step(tile))
    step = kept[0]
    step.number.fill_(start)
    # streams and graphs are the current card's: of another's steps they hold nothing
    with torch.cuda.device_of(tile.theta):
        for rows in plain.batches(tile, start, stop):
            if step.batch is not None and rows is not None:
                step.batch.copy_(rows)
            step()
