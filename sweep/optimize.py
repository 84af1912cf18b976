"""Update rules for B networks at once, each run with its own rates.

With g the gradient of the (mini-batch) loss, shortened to the norm `clip` where it is longer, plus weight_decay · θ
(coupled; not of adamw), and η the run's rate at this step, layer by layer:

    gd, sgd     θ ← θ - η g
    momentum    m ← μ m + g;  θ ← θ - η m                                     heavy ball, Polyak 1964
    nesterov    m ← μ m + g;  θ ← θ - η (g + μ m)                             as torch.optim.SGD has it
    adam        Kingma & Ba 2015, with bias correction; β₁, β₂, ε = 0.9, 0.999, 1e-8 where none are given
    adamw       the same, and θ loses η · weight_decay · θ beside             Loshchilov & Hutter 2019
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from relusweep.sweep import schedule
from relusweep.sweep.model import Architecture
from relusweep.sweep.run import Run

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class Rates:
    """Per-run numbers of the update rule, one row a run; None where every run of the pack has the plain value."""

    lr: Float[Tensor, "B 1"] | Float[Tensor, "B p"]
    warmup: Float[Tensor, "B 1"] | None
    schedule: Float[Tensor, "B 5"] | None
    decay: Float[Tensor, "B p"] | None
    momentum: Float[Tensor, "B 1"] | None
    adam: Float[Tensor, "B 3"] | None  # β₁, β₂, ε
    clip: Float[Tensor, "B 1"] | None
    noise: Float[Tensor, "B 1"] | None
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
            schedule=schedule.numbers(runs, dtype, device),
            decay=decay,
            momentum=None if runs[0].momentum is None else column([run.momentum or 0 for run in runs]),
            adam=_adams(runs, dtype, device),
            clip=column([run.clip or math.inf for run in runs]) if any(run.clip for run in runs) else None,
            noise=column([run.label_noise for run in runs]) if any(run.label_noise for run in runs) else None,
            slope=column([run.negative_slope or 0 for run in runs])[:, :, None]
            if runs[0].activation == "leaky_relu"
            else None,
            seed=torch.tensor([run.seed for run in runs], device=device),
        )

    def factors(self, steps: int | Float[Tensor, " s"]) -> Float[Tensor, "B s"] | Float[Tensor, "B 1"] | None:
        """Return what the rates are multiplied by at one step or several; None where it is 1 for all runs."""
        return schedule.factors(self.warmup, self.schedule, steps)

    def window(self, start: int, stop: int, varying_until: int) -> Float[Tensor, "B s"] | None:
        """Return the same of the steps start … stop-1; None where the rates are what they stay."""
        if start >= varying_until:
            return None
        return self.factors(torch.arange(start, stop, dtype=self.lr.dtype, device=self.lr.device))

    def rows(self, which: slice | Tensor) -> "Rates":
        """Select runs."""
        present = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return replace(self, **{name: value[which] for name, value in present.items()})


def _adams(runs: Sequence[Run], dtype: torch.dtype, device: torch.device) -> Float[Tensor, "B 3"] | None:
    """Return β₁, β₂ and ε of each run; None where all have the usual ones."""
    given = [(run.beta1, run.beta2, run.epsilon) for run in runs]
    if all(number is None for numbers in given for number in numbers):
        return None
    usual = (*_BETAS, _EPSILON)
    rows = [[default if own is None else own for own, default in zip(numbers, usual, strict=True)] for numbers in given]
    return torch.tensor(rows, dtype=dtype, device=device)


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
    factor: Float[Tensor, "B 1"] | None,
) -> None:
    """Take one step in place.

    Args:
        optimizer: One of `RULES`.
        theta: Parameters; changed.
        buffers: What the rule remembers; changed.
        g: Gradient.
        rates: The runs' numbers.
        step: Counted from 0.
        factor: What the schedule multiplies the rates by at this step; None for 1.

    Raises:
        ValueError: if there is no update rule of this name.
    """
    rule = RULES.get(optimizer)
    if rule is None:
        raise ValueError(f"optimizer = {optimizer!r}: no update rule; expected one of {', '.join(RULES)}")
    if rates.clip is not None:
        g = g * (rates.clip / g.norm(dim=1, keepdim=True)).clamp(max=1)
    decoupled = optimizer in DECOUPLED
    if rates.decay is not None and not decoupled:
        g = torch.addcmul(g, rates.decay, theta)
    direction = rule(buffers, g, rates, step)
    if rates.decay is not None and decoupled:
        direction = torch.addcmul(direction, rates.decay, theta)
    lr = rates.lr if factor is None else rates.lr * factor
    theta.addcmul_(lr, direction, value=-1)


def _gradient(
    buffers: tuple[Tensor, ...], g: Float[Tensor, "B p"], rates: Rates, step: int | Tensor
) -> Float[Tensor, "B p"]:
    return g


def _heavy_ball(
    buffers: tuple[Tensor, ...], g: Float[Tensor, "B p"], rates: Rates, step: int | Tensor
) -> Float[Tensor, "B p"]:
    assert rates.momentum is not None
    return buffers[0].mul_(rates.momentum).add_(g)


def _nesterov(
    buffers: tuple[Tensor, ...], g: Float[Tensor, "B p"], rates: Rates, step: int | Tensor
) -> Float[Tensor, "B p"]:
    assert rates.momentum is not None
    return torch.addcmul(g, rates.momentum, _heavy_ball(buffers, g, rates, step))


def _adam(
    buffers: tuple[Tensor, ...], g: Float[Tensor, "B p"], rates: Rates, step: int | Tensor
) -> Float[Tensor, "B p"]:
    first, second = buffers
    if rates.adam is None:
        (beta1, beta2), epsilon = _BETAS, _EPSILON
        first.lerp_(g, 1 - beta1)
        second.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    else:
        beta1, beta2, epsilon = rates.adam.T[:, :, None]
        first.lerp_(g, 1 - beta1)
        second.mul_(beta2).add_((1 - beta2) * g * g)
    scale = (second / (1 - beta2 ** (step + 1))).sqrt_().add_(epsilon)
    return first / scale / (1 - beta1 ** (step + 1))


# The direction of each update rule, of which θ loses η times as much. It is given the memory, which it brings up to
# date, the gradient, the rates and the step.
RULES: Mapping[str, Callable[[tuple[Tensor, ...], Tensor, Rates, int | Tensor], Tensor]] = {
    "gd": _gradient,
    "sgd": _gradient,
    "momentum": _heavy_ball,
    "nesterov": _nesterov,
    "adam": _adam,
    "adamw": _adam,
}
DECOUPLED = frozenset({"adamw"})  # their weight decay is no part of the gradient
