"""Schedule: what a run's step size is multiplied by at each step: a warm-up, and what becomes of it afterwards.

With w = warmup_steps, T = max_steps and s the step, counted from 0, the factor is (s+1)/w while s < w - 1; then, with
t = (s - w)/(T - w), held within [0, 1]:

    constant    1
    linear      1 - t
    cosine      ½ (1 + cos πt)                                      Loshchilov & Hutter 2017, without restarts
    step        schedule_factor ^ ⌊(s - w)/schedule_every⌋
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.run import Run

_KINDS = ("constant", "linear", "cosine", "step")


def numbers(runs: Sequence[Run], dtype: torch.dtype, device: torch.device) -> Float[Tensor, "B 5"] | None:
    """Gather kind, w, T, schedule_every and schedule_factor of a pack's runs; None if all stay constant."""
    if all(run.schedule == "constant" for run in runs):
        return None
    rows = [
        [_KINDS.index(run.schedule), run.warmup_steps, run.max_steps, run.schedule_every or 1, run.schedule_factor or 1]
        for run in runs
    ]
    return torch.tensor(rows, dtype=dtype, device=device)


def factors(
    warmup: Float[Tensor, "B 1"] | None, numbers: Float[Tensor, "B 5"] | None, steps: int | Float[Tensor, " s"]
) -> Float[Tensor, "B s"] | Float[Tensor, "B 1"] | None:
    """Return the factors of one step or several, None where all are 1; on the device, which nothing waits for."""
    warm = None if warmup is None else ((steps + 1) / warmup).clamp(max=1)  # warmup 0 gives inf, hence 1
    if numbers is None:
        return warm
    kind, begin, end, every, factor = numbers.T[:, :, None]
    after = (steps - begin).clamp(min=0)
    t = (after / (end - begin).clamp(min=1)).clamp(max=1)
    later = torch.ones_like(t)
    shapes = (1 - t, (1 + torch.cos(math.pi * t)) / 2, factor ** torch.floor(after / every))
    for index, shape in enumerate(shapes, 1):
        later = torch.where(kind == index, shape, later)
    return later if warm is None else warm * later
