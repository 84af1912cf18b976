"""Loop: what compiled training loops have in common: their arguments on the CPU, and losses as a step of no length."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.kernels.training.kernel import Tile
from relusweep.sweep.optimize import Rates, streams


def arguments(tile: Tile) -> list[np.ndarray]:
    """Return weights, memory, rates, decays, momenta, warm-ups, slopes, streams, xs, ys, peaks; empty if there is none.

    Those of the tile that are changed in place are changed through them.
    """
    run, theta, buffers, peak, rates, x, y = tile
    assert all(tensor.is_contiguous() for tensor in (theta, *buffers, peak)), "changed in place"
    none = torch.zeros_like(peak)
    numbers = [none if v is None else v.flatten() for v in (rates.momentum, rates.warmup, rates.slope)]
    tensors = [
        theta,
        buffers[0] if buffers else theta[:0],
        rates.lr.expand_as(theta),
        theta[:0] if rates.decay is None else rates.decay,
        *numbers,
        streams(rates.seed) if run.batch_size else rates.seed,
        (x if x.ndim == 3 else x[None])[..., : run.d],
        y,
        peak,
    ]
    return [tensor.contiguous().numpy() for tensor in tensors]


def losses(advance: Callable[[Tile, int, int, int], None], tile: Tile) -> Float[Tensor, " B"]:
    """Return the losses over all samples: what a full step of no length meets."""
    rates, peak = tile.rates, torch.zeros_like(tile.theta[:, 0])
    whole = tile.run.model_copy(update={"optimizer": "gd", "batch_size": 0})
    still = Rates(torch.zeros_like(rates.lr), None, None, None, rates.slope, rates.seed)
    advance(tile._replace(run=whole, theta=tile.theta.clone(), buffers=(), peak=peak, rates=still), 0, 1, 0)
    return peak
