"""Kernel: the contract of what trains runs; and Tile, what it takes: runs of one shape, as tensors on a device.

A kernel is a module. `choice` has the kernels that there are, and says which trains a run.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.model import Inputs
from relusweep.sweep.optimize import Rates
from relusweep.sweep.run import Run


class Tile(NamedTuple):
    """B runs that are advanced together, a row each, with n samples and p parameters."""

    run: Run  # any run of the pack, for what all of them share: `sweep.shape.SHAPE_KEYS`
    theta: Tensor  # parameters (B, p), contiguous; changed in place
    buffers: tuple[Tensor, ...]  # memory of the optimizer, (B, p) each, contiguous; changed in place
    peak: Tensor  # largest loss met so far (B,), NaN if one was met; changed in place
    rates: Rates  # per-run numbers of the update rule
    x: Inputs  # inputs with the column of ones where units have biases: (n, i) if the runs share them, else (B, n, i)
    y: Tensor  # targets (B, n)


@runtime_checkable
class Kernel(Protocol):
    """What every kernel offers, and what must hold of it; `plain` is the reference.

    - It trains as the reference does: equal but for rounding, and both to autograd (tests/sweep/kernels/training).
    - What becomes of a run depends neither on the others of its tile nor on where windows begin and end: bit for bit,
      but for `plain` and `graphed`, whose products of a whole tile may add up in another order in another tile.
    - It steps only by update rules that it names. Another optimizer is refused by `supports`, never stepped as gd.
    - Nothing waits for the device or looks at a value on it: a GPU is given steps faster than it takes them.
    """

    NAME: str
    """What records call it."""

    OPTIMIZERS: frozenset[str]
    """The update rules that it steps by: a compiled kernel names its own, the reference takes all that exist."""

    def supports(self, run: Run, device: torch.device) -> bool:
        """Return whether this kernel trains runs of this shape on the device."""
        ...

    def tile_size(self, run: Run, device: torch.device) -> int:
        """Return how many runs of this shape to advance together, at least 1.

        The rule: no more than fit together where their numbers are to lie (a core's cache, a card's memory), where runs
        share it; and no more than advance by a window between two convergence checks in about a second, since only
        between tiles is a stop asked for and progress reported.
        """
        ...

    def advance(self, tile: Tile, start: int, stop: int, varying_until: int) -> None:
        """Take the steps start … stop-1 in place; `peak` becomes the largest loss met, NaN if one was met.

        Args:
            tile: The runs; theta, buffers and peak change.
            start: First step, counted from the beginning of the training.
            stop: Step after the last.
            varying_until: The step from which on the rates of all runs of the pack are what they stay.
        """
        ...

    def losses(self, tile: Tile) -> Float[Tensor, " B"]:
        """Return the losses over the whole training set; the tile does not change."""
        ...
