"""The kernel for networks too large for a warp of a GPU: the reference's step, captured once, replayed as a CUDA graph.

A step of the reference is some twenty launches that take longer than what they launch; a graph is one. Since a replay
reads and writes the same memory every time, what changes from step to step lies in tensors too: the step's number, and
its mini-batch. The step is held against the reference on a CPU; the capture *has not run on a GPU yet*.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from relusweep.sweep.kernels.training import plain
from relusweep.sweep.model import Architecture, Inputs, gradient
from relusweep.sweep.optimize import Rates, update
from relusweep.sweep.run import Run

NAME = "graph"
_WARM_UP = 3  # steps before the capture, in which libraries take the memory that they work in

tile_size, losses = plain.tile_size, plain.losses


def supports(run: Run, device: torch.device) -> bool:
    """Tell whether this kernel trains runs of this shape on the device."""
    return device.type == "cuda"


class Step:
    """One step of some runs, in memory that stays where it is."""

    def __init__(
        self, run: Run, theta: Tensor, buffers: tuple[Tensor, ...], peak: Tensor, rates: Rates, x: Inputs, y: Tensor
    ) -> None:
        self.run, self.architecture = run, Architecture.of(run)
        self.theta, self.buffers, self.peak, self.rates, self.x, self.y = theta, buffers, peak, rates, x, y
        self.number = torch.zeros((), dtype=torch.float64, device=theta.device)
        size = (len(theta), run.batch_size)
        self.batch = torch.zeros(size, dtype=torch.int64, device=theta.device) if run.batch_size else None
        self.taken = 0
        self.graph: Any = None

    def is_of(self, theta: Tensor, buffers: tuple[Tensor, ...], peak: Tensor, *given: object) -> bool:
        """Tell whether these are the tensors of this step: views of the memory that it holds, and the same others."""
        own, asked = (self.theta, *self.buffers, self.peak), (theta, *buffers, peak)
        same_memory = [(t.data_ptr(), t.shape) for t in own] == [(t.data_ptr(), t.shape) for t in asked]
        mine = (self.run, self.rates, self.x, self.y)
        return same_memory and all(a is b for a, b in zip(mine, given, strict=True))

    def take(self) -> None:
        """Launch the step, operation by operation."""
        inputs, targets = (self.x, self.y) if self.batch is None else plain.batch_of(self.x, self.y, self.batch)
        g, loss = gradient(self.architecture, self.theta, inputs, targets, self.rates.slope)
        torch.maximum(self.peak, loss, out=self.peak)
        update(self.run.optimizer, self.theta, self.buffers, g, self.rates, self.number, warming=True)
        self.number += 1

    def __call__(self) -> None:
        """Take the step: by replay once it has been captured."""
        self.taken += 1
        if self.theta.device.type != "cuda":
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


@cache
def _kept() -> list[Step]:
    """The last step: a pack is one tile, whose memory stays from window to window until runs end."""
    return []


@torch.inference_mode()
def advance(
    run: Run,
    theta: Tensor,
    buffers: tuple[Tensor, ...],
    peak: Tensor,
    rates: Rates,
    x: Inputs,
    y: Tensor,
    start: int,
    stop: int,
    warming_until: int,
) -> None:
    """Take the steps start … stop-1 in place; arguments as those of the reference kernel."""
    kept = _kept()
    if not (kept and kept[0].is_of(theta, buffers, peak, run, rates, x, y)):
        kept.clear()  # and with it the memory of its graph
        kept.append(Step(run, theta, buffers, peak, rates, x, y))
    step = kept[0]
    step.number.fill_(start)
    with torch.cuda.device_of(theta):  # streams and graphs are the current card's: of another's steps they hold nothing
        for rows in plain.batches(run, rates, len(theta), start, stop):
            if step.batch is not None and rows is not None:
                step.batch.copy_(rows)
            step()
