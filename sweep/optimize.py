"""Update rules for B networks at once, each run with its own rates; and the mini-batches of stochastic ones.

With g the gradient of the (mini-batch) loss plus weight_decay · θ (coupled), and η the run's rate, layer by layer:

    gd, sgd     θ ← θ - η g
    momentum    m ← μ m + g;  θ ← θ - η m                                     heavy ball, Polyak 1964
    adam        Kingma & Ba 2015, β = (0.9, 0.999), ε = 1e-8, with bias correction
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from relusweep.sweep.model import BATCHES, Architecture
from relusweep.sweep.run import Run

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Rates:
    """Per-run numbers of the update rule, one row a run; None where every run of the pack has the plain value."""

    lr: Float[Tensor, "B 1"] | Float[Tensor, "B p"]
    warmup: Float[Tensor, "B 1"] | None
    decay: Float[Tensor, "B p"] | None
    momentum: Float[Tensor, "B 1"] | None
    slope: Float[Tensor, "B 1 1"] | None
    seed: Int[Tensor, " B"]

    @staticmethod
    def of(runs: Sequence[Run], architecture: Architecture, dtype: torch.dtype, device: torch.device) -> "Rates":
        """Gather the numbers of a pack's runs."""

        def column(values: Sequence[float | int]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)[:, None]

        lr = column([run.lr for run in runs])
        if any(run.lr_ratio != 1 for run in runs):
            lr = _per_layer_rates(runs, architecture).to(device, dtype)
        decay = None
        if any(run.weight_decay for run in runs):
            free = architecture.is_bias().to(device) & ~torch.tensor([[run.decay_bias] for run in runs], device=device)
            decay = column([run.weight_decay for run in runs]) * ~free
        return Rates(
            lr=lr,
            warmup=column([run.warmup_steps for run in runs]) if any(run.warmup_steps for run in runs) else None,
            decay=decay,
            momentum=column([run.momentum or 0 for run in runs]) if runs[0].optimizer == "momentum" else None,
            slope=column([run.negative_slope or 0 for run in runs])[:, :, None]
            if runs[0].activation == "leaky_relu"
            else None,
            seed=torch.tensor([run.seed for run in runs], device=device),
        )

    def rows(self, which: slice | Tensor) -> "Rates":
        """Select runs."""
        present = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return replace(self, **{name: value[which] for name, value in present.items()})


def _per_layer_rates(runs: Sequence[Run], architecture: Architecture) -> Float[Tensor, "B p"]:
    """Return lr · lr_ratio for the second layer, lr for the others; with lr_ratio = inf only the second's, lr."""
    alone = [math.isinf(run.lr_ratio) for run in runs]
    second = [run.lr * (1 if only else run.lr_ratio) for run, only in zip(runs, alone, strict=True)]
    other = [0.0 if only else run.lr for run, only in zip(runs, alone, strict=True)]
    layers = [second if index == 1 else other for index in range(len(architecture.shapes))]
    return architecture.per_layer([torch.tensor(layer, dtype=torch.float64) for layer in layers])


def update(
    optimizer: str,
    theta: Float[Tensor, "B p"],
    buffers: tuple[Float[Tensor, "B p"], ...],
    g: Float[Tensor, "B p"],
    rates: Rates,
    step: int | Float[Tensor, ""],
    warming: bool,
) -> None:
    """Take one step in place; `step` counts from 0, `warming` says that some run's rate may still rise.

    Raises:
        ValueError: if there is no update rule of this name.
    """
    rule = RULES.get(optimizer)
    if rule is None:
        raise ValueError(f"optimizer = {optimizer!r}: no update rule; expected one of {', '.join(RULES)}")
    if rates.decay is not None:
        g = torch.addcmul(g, rates.decay, theta)
    lr = rates.lr
    if warming and rates.warmup is not None:
        lr = lr * ((step + 1) / rates.warmup).clamp(max=1)  # warmup 0 gives inf, hence 1
    theta.addcmul_(lr, rule(buffers, g, rates, step), value=-1)


def _gradient(
    buffers: tuple[Tensor, ...], g: Float[Tensor, "B p"], rates: Rates, step: int | Tensor
) -> Float[Tensor, "B p"]:
    return g


def _heavy_ball(
    buffers: tuple[Tensor, ...], g: Float[Tensor, "B p"], rates: Rates, step: int | Tensor
) -> Float[Tensor, "B p"]:
    assert rates.momentum is not None
    return buffers[0].mul_(rates.momentum).add_(g)


def _adam(
    buffers: tuple[Tensor, ...], g: Float[Tensor, "B p"], rates: Rates, step: int | Tensor
) -> Float[Tensor, "B p"]:
    first, second = buffers
    first.lerp_(g, 1 - _BETA1)
    second.mul_(_BETA2).addcmul_(g, g, value=1 - _BETA2)
    scale = (second / (1 - _BETA2 ** (step + 1))).sqrt_().add_(_EPSILON)
    return first / scale / (1 - _BETA1 ** (step + 1))


def draw_batches(
    seed: Int[Tensor, " B"], first_step: int, steps: int, n: int, batch_size: int
) -> Int[Tensor, "steps B batch"]:
    """Draw a uniformly random subset of the n samples for every step and run, independent of all others.

    Independent subsets, not epochs: the stability theory of SGD (Mulayoff & Michaeli 2024) is about these. A batch is
    the beginning of a shuffle (Fisher & Yates), whose t-th exchange is a function of (seed, purpose, step, t) alone, so
    that a run draws the same in every pack, on every device, and after an interruption.
    """
    count = len(seed)
    step = torch.arange(first_step, first_step + steps, device=seed.device)
    order = torch.arange(n, device=seed.device).expand(steps, count, n).clone()
    stream = streams(seed)
    for t in range(batch_size):
        bits = _mix(stream + (step * n + t)[:, None] * _GOLDEN) >> 33 & 2**31 - 1
        pick = t + (bits * (n - t) >> 31)[..., None]
        picked = order.gather(-1, pick)
        order.scatter_(-1, pick, order[..., t : t + 1].clone())
        order[..., t : t + 1] = picked
    return order[..., :batch_size]


def streams(seed: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Return where the random numbers of each run's batches begin; seeds have 31 bits."""
    return _mix(seed + (BATCHES << 32))


_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # 64-bit constants as signed integers, which torch has; products wrap around


def _mix(z: Tensor) -> Tensor:
    """Scramble 64-bit integers, one to one (the finaliser of SplitMix64: Steele, Lea & Flood 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64)):
        z = (z ^ (z >> shift & (1 << 64 - shift) - 1)) * factor  # the mask makes the shift a logical one
    return z ^ (z >> 31 & (1 << 33) - 1)


# The direction of each update rule, of which θ loses η times as much. It is given the memory, which it brings up to
# date, the gradient, the rates and the step.
RULES: Mapping[str, Callable[[tuple[Tensor, ...], Tensor, Rates, int | Tensor], Tensor]] = {
    "gd": _gradient,
    "sgd": _gradient,
    "momentum": _heavy_ball,
    "adam": _adam,
}
