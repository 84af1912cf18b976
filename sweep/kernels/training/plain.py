"""The reference kernel: every step a few torch operations on all runs of a tile, on any device."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.kernels.training.kernel import Tile
from relusweep.sweep.model import Architecture, Inputs, gradient
from relusweep.sweep.optimize import RULES, update
from relusweep.sweep.run import Run
from relusweep.sweep.sampling import draw_batches, label_noise
from relusweep.sweep.shape import hidden_units, number_bytes

NAME = "torch"
OPTIMIZERS = frozenset(RULES)
_BATCH_NUMBERS = 2**19  # random keys drawn at once for mini-batches


def supports(run: Run, device: torch.device) -> bool:
    """Return whether this kernel trains runs of this shape on the device: the reference trains all."""
    return run.optimizer in OPTIMIZERS


def tile_size(run: Run, device: torch.device) -> int:
    """Return how many runs to advance together: as many as keep their activations in a core's cache, or a GPU's memory.

    Measured on a CPU with 1 MiB of second-level cache a core: tensors of activations of about 2 MiB are the best
    compromise between the cost of a torch call and that of memory, in float32 and float64 (bench/README.md). A step on
    a GPU has several of 2 GiB at most.
    """
    activations = hidden_units(run) * (run.batch_size or run.n) * number_bytes(run)
    most, room = (512, 2**21) if device.type == "cpu" else (2**20, 2**31)
    return max(1, min(most, room // activations))


@torch.inference_mode()
def advance(tile: Tile, start: int, stop: int, varying_until: int) -> None:
    """Take the steps start … stop-1 in place."""
    run, theta, buffers, peak, rates, x, y = tile
    architecture = Architecture.of(run)
    for step, rows in zip(range(start, stop), batches(tile, start, stop), strict=True):
        inputs, targets = (x, y) if rows is None else batch_of(x, y, rows)
        if rates.noise is not None:
            seen = torch.arange(run.n, device=y.device).expand_as(y) if rows is None else rows
            targets = targets + rates.noise * label_noise(rates.seed, step, seen, run.n).to(y.dtype)
        g, loss = gradient(architecture, theta, inputs, targets, rates.slope)
        torch.maximum(peak, loss, out=peak)
        factor = rates.factors(step) if step < varying_until else None
        update(run.optimizer, theta, buffers, g, rates, step, factor)


def batches(tile: Tile, start: int, stop: int) -> Iterator[Tensor | None]:
    """Yield the samples of each step's mini-batches (B, batch), drawn for many steps at once; None where all are."""
    run, seed = tile.run, tile.rates.seed
    chunk = max(1, _BATCH_NUMBERS // (run.n * len(tile.theta)))
    if run.sampling == "epoch":
        chunk = max(chunk, run.n // run.batch_size)  # a shuffle for each epoch, not for each piece of one
    for first in range(start, stop, chunk):
        steps = min(chunk, stop - first)
        if run.batch_size:
            yield from draw_batches(seed, first, steps, run.n, run.batch_size, run.sampling)
        else:
            yield from [None] * steps


def batch_of(x: Inputs, y: Tensor, rows: Tensor) -> tuple[Float[Tensor, "B batch i"], Float[Tensor, "B batch"]]:
    """Select the samples `rows` (B, batch) of each run."""
    inputs = x[rows] if x.ndim == 2 else x.gather(1, rows[:, :, None].expand(-1, -1, x.shape[-1]))
    return inputs, y.gather(1, rows)


@torch.inference_mode()
def losses(tile: Tile) -> Float[Tensor, " B"]:
    """Return the losses over the whole training set."""
    return gradient(Architecture.of(tile.run), tile.theta, tile.x, tile.y, tile.rates.slope)[1]
