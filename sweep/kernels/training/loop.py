"""Loop: what compiled training loops have in common: their arguments on the CPU, and losses as a step of no length."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.kernels.training.kernel import Tile
from relusweep.sweep.sampling import streams


def arguments(tile: Tile, start: int, stop: int, varying_until: int) -> list[np.ndarray]:
    """Return weights, memory, rates, factors, decays, momenta, clips, slopes, streams, xs, ys, peaks; empty if none.

    Factors are what the rates are multiplied by, step by step. What of the tile is changed in place is changed through
    these.
    """
    run, theta, buffers, peak, rates, x, y = tile
    assert all(tensor.is_contiguous() for tensor in (theta, *buffers, peak)), "changed in place"
    none, factors = torch.zeros_like(peak), rates.window(start, stop, varying_until)
    tensors = [
        theta,
        buffers[0] if buffers else theta[:0],
        rates.lr.expand_as(theta),
        theta[:0] if factors is None else factors,
        theta[:0] if rates.decay is None else rates.decay,
        none if rates.momentum is None else rates.momentum.flatten(),
        none[:0] if rates.clip is None else rates.clip.flatten(),
        none if rates.slope is None else rates.slope.flatten(),
        streams(rates.seed) if run.batch_size else rates.seed,
        (x if x.ndim == 3 else x[None])[..., : run.d],
        y,
        peak,
    ]
    return [tensor.contiguous().numpy() for tensor in tensors]


def losses(advance: Callable[[Tile, int, int, int], None], tile: Tile) -> Float[Tensor, " B"]:
    """Return the losses over all samples: what a full step of no length meets."""
    rates, peak = tile.rates, torch.zeros_like(tile.theta[:, 0])
    whole = tile.run.model_copy(update={"optimizer": "gd", "batch_size": 0, "sampling": "subset", "label_noise": 0.0})
    nothing = dict.fromkeys(("warmup", "schedule", "decay", "momentum", "adam", "clip", "noise"))
    still = replace(rates, lr=torch.zeros_like(rates.lr), **nothing)
    advance(tile._replace(run=whole, theta=tile.theta.clone(), buffers=(), peak=peak, rates=still), 0, 1, 0)
    return peak
