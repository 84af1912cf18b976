"""Loop: what compiled training loops have in common: their arguments on the CPU, and losses as a step of no length."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from relusweep.sweep.model import Inputs
from relusweep.sweep.optimize import Rates, streams
from relusweep.sweep.run import Run


def arguments(
    run: Run, theta: Tensor, buffers: tuple[Tensor, ...], peak: Tensor, rates: Rates, x: Inputs, y: Tensor
) -> list[np.ndarray]:
    """Give weights, memory, rates, decays, momenta, warm-ups, slopes, streams, xs, ys, peaks; empty if there is none.

    `theta`, `buffers` and `peak` are changed through them.
    """
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


def losses(advance: Callable[..., None], run: Run, theta: Tensor, rates: Rates, x: Inputs, y: Tensor) -> Tensor:
    """Compute the losses (B,) over all samples: what a full step of no length meets."""
    peak = torch.zeros_like(theta[:, 0])
    whole = run.model_copy(update={"optimizer": "gd", "batch_size": 0})
    still = Rates(torch.zeros_like(rates.lr), None, None, None, rates.slope, rates.seed)
    advance(whole, theta.clone(), (), peak, still, x, y, 0, 1, 0)
    return peak
