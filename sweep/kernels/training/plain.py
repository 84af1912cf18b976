"""The reference kernel: any run, any device, one torch operation after the other."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.model import Architecture, Inputs, gradient
from relusweep.sweep.optimize import Rates, draw_batches, update
from relusweep.sweep.run import Run

NAME = "torch"
_BATCH_NUMBERS = 2**19  # random keys drawn at once for mini-batches


def supports(run: Run, device: torch.device) -> bool:
    """Tell whether this kernel trains runs of this shape on the device: the reference trains all."""
    return True


def tile_size(run: Run, device: torch.device) -> int:
    """How many runs to advance together: as many as keep their activations in a core's cache, or in a GPU's memory.

    Measured on a CPU with 1 MiB of second-level cache a core: tensors of activations of about 2 MiB are the best
    compromise between the cost of a torch call and that of memory, in float32 and float64 (bench/README.md). A step on
    a GPU has several of 2 GiB at most.
    """
    activations = (run.width + (run.width2 or 0)) * (run.batch_size or run.n) * (8 if run.dtype == "float64" else 4)
    most, room = (512, 2**21) if device.type == "cpu" else (2**20, 2**31)
    return max(1, min(most, room // activations))


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
    """Take the steps start … stop-1 in place; `peak` (B,) becomes the largest loss met, NaN if one was met.

    Nothing here waits for the device or looks at a value.

    Args:
        run: Any run of the pack, for what all of them share.
        theta: Parameters (B, p).
        buffers: Memory of the optimizer, (B, p) each.
        peak: Largest loss so far.
        rates: Per-run numbers of the update rule.
        x: Inputs with the column of ones, (n, i) if the runs share them, else (B, n, i).
        y: Targets (B, n).
        start: First step.
        stop: Step after the last.
        warming_until: The largest warmup_steps of the pack.
    """
    architecture = Architecture.of(run)
    for step, rows in zip(range(start, stop), batches(run, rates, len(theta), start, stop), strict=True):
        inputs, targets = (x, y) if rows is None else batch_of(x, y, rows)
        g, loss = gradient(architecture, theta, inputs, targets, rates.slope)
        torch.maximum(peak, loss, out=peak)
        update(run.optimizer, theta, buffers, g, rates, step, step < warming_until)


def batches(run: Run, rates: Rates, count: int, start: int, stop: int) -> Iterator[Tensor | None]:
    """Yield the samples of each step's mini-batches (B, batch), drawn for many steps at once; None where all are."""
    chunk = max(1, _BATCH_NUMBERS // (run.n * count))
    for first in range(start, stop, chunk):
        steps = min(chunk, stop - first)
        yield from draw_batches(rates.seed, first, steps, run.n, run.batch_size) if run.batch_size else [None] * steps


def batch_of(x: Inputs, y: Tensor, rows: Tensor) -> tuple[Float[Tensor, "B batch i"], Float[Tensor, "B batch"]]:
    """Select the samples `rows` (B, batch) of each run."""
    inputs = x[rows] if x.ndim == 2 else x.gather(1, rows[:, :, None].expand(-1, -1, x.shape[-1]))
    return inputs, y.gather(1, rows)


@torch.inference_mode()
def losses(run: Run, theta: Tensor, rates: Rates, x: Inputs, y: Tensor) -> Tensor:
    """Compute the losses (B,) over the whole training set."""
    return gradient(Architecture.of(run), theta, x, y, rates.slope)[1]
