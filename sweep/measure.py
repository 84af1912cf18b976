"""Measures of networks at a point of their training: errors, curvature, stability norms. Always in float64.

Sources: [N23] Nacson et al., ICLR 2023, arXiv:2306.17499. [L25] Liang et al., arXiv:2506.20779. `sweep.curvature` finds
the curvature.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from relusweep.sweep.curvature import gauss_newton_top, hessian_top, residual_correction
from relusweep.sweep.derivatives import gram, pull
from relusweep.sweep.lanczos import Eigenpair, eigh
from relusweep.sweep.model import forward, gradient
from relusweep.sweep.pack import FORMED
from relusweep.sweep.point import Point

_MODE_PAIRS = 64  # data on kinks that `least_gauss_newton_sharpness` will try; beyond, the recorded mode stands
_ROUNDING = 1e-9  # |z| / ‖w‖ that counts as zero


# Errors --------------------------------------------------------------------------------------------------------------


def loss(point: Point) -> Float[Tensor, " B"]:
    """Compute (1/2n) Σ_j r_j²."""
    return point.survey.loss if point.survey else point.residual.square().mean(1) / 2


def largest_residual(point: Point) -> Float[Tensor, " B"]:
    """Compute max_j |r_j|."""
    return point.survey.largest_residual if point.survey else point.residual.abs().amax(1)


def mean_gradient_bound(point: Point) -> Float[Tensor, " B"]:
    """Compute MG = ‖(1/n) Σ_j ∇f(x_j)‖² ≤ λ_max of Gauss–Newton, anywhere: its Rayleigh quotient at the ones vector."""
    return pull(point, torch.full_like(point.y, 1 / point.n)).square().sum(1)


# Kinks ----------------------------------------------------------------------------------------------------------------


def on_kink(point: Point, lr: Float[Tensor, " B"]) -> list[Bool[Tensor, "B _ n"]]:
    """Mark the pairs (unit, datum) that lie on a kink as far as the training can tell.

    Training at large steps leaves data on kinks. In the limit their |z| is at rounding level, |z| < 1e-9 ‖w‖; at a
    finite loss z still moves to and fro across the kink, so a pair counts too if one more step of gd changes z by |z|
    or more. There the activation mode, and with it λ_max, changes from step to step.
    """
    if point.programs:
        return point.programs.on_kink(point.networks, lr, _ROUNDING)
    g, _ = gradient(*point.networks)
    moved = forward(point.architecture, point.theta - lr[:, None] * g, point.x, point.slope)[0]
    marks = []
    for rows, z, after in zip(point.architecture.split(point.theta)[:-1], point.before, moved, strict=True):
        weights = rows[..., :-1] if point.architecture.bias else rows
        rounding = _ROUNDING * torch.linalg.vector_norm(weights, dim=-1, keepdim=True)
        marks.append((z.abs() < rounding) | ((after - z).abs() >= z.abs()) & (after != z))
    return marks


def least_gauss_newton_sharpness(
    point: Point, top: Eigenpair, marks: list[Bool[Tensor, "B _ n"]]
) -> Float[Tensor, " B"]:
    """Lower λ_max of Gauss–Newton over the activation modes of data on kinks.

    With data exactly on kinks λ_max depends on which side each is taken to be, by a percent or so; a minimum is called
    unstable only if it is in every mode. One greedy pass flips each pair and keeps what lowers λ_max: an upper estimate
    of the least one, exact for a single pair.

    Args:
        point: The networks.
        top: λ_max and its vector in the recorded mode; the value stands where no datum is on a kink, or more than 64.
        marks: What `on_kink` found.
    """
    least = top.value.clone()
    count = _count(marks)
    few = (count > 0) & (count <= _MODE_PAIRS)
    if point.programs:
        found = point.programs.least_over_modes(point.networks, top, [marked & few[:, None, None] for marked in marks])
        few = few & found.isnan()
        least = torch.where(few, least, found)
    if point.n > FORMED:
        return least
    for b in torch.nonzero(few).flatten().tolist():
        one = point.rows(slice(b, b + 1))
        derivatives = [derivative.clone() for derivative in one.derivatives]
        for layer, marked in enumerate(marks):
            for unit, datum in torch.nonzero(marked[b]).tolist():
                pair = (0, unit, datum)
                negative = 0.0 if one.slope is None else float(one.slope)
                old = derivatives[layer][pair].clone()
                derivatives[layer][pair] = negative if old == 1 else 1.0
                flipped = eigh(gram(one, derivatives))[0][0, -1]
                if flipped < least[b]:
                    least[b] = flipped
                else:
                    derivatives[layer][pair] = old
    return least


def _count(marks: list[Bool[Tensor, "B _ n"]]) -> Int[Tensor, " B"]:
    return torch.stack([marked.sum((1, 2)) for marked in marks]).sum(0)


# Stability norms (one hidden layer) ----------------------------------------------------------------------------------


def stability_norms(point: Point) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Compute the stability norm S and the oriented stability norm S̃ of shallow networks, on their training inputs.

        S = Σ |a_i| ‖w_i‖ g(u_i, t_i),   g(u, t) = min(g̃(u, t), g̃(-u, -t)),   S̃ = Σ |a_i| ‖w_i‖ g̃(u_i, t_i)
        g̃ = A √(P² + ‖m‖²),  A = mean σ(u·x - t),  P = mean σ'(u·x - t),  m = mean σ'(u·x - t) x

    with u = w/‖w‖, t = -b/‖w‖: the weight function of [N23] as [L25 §3] gives it, in a form without division, where a
    dead unit counts 0. For Gauss–Newton at any weights, with 1/(2n) in the loss:

        1 + 2S ≤ 1 + 2S̃ ≤ mean_gradient_bound ≤ λ_max      (mean and AM-GM inequality)

    hence at a stable interpolating minimum S ≤ S̃ ≤ 1/lr - 1/2. Without biases the P² of the hidden and the 1 of the
    output bias are dropped: 2S̃ ≤ λ_max and S̃ ≤ 1/lr. For the leaky ReLU σ' is the slope on the negative side; the
    same proof holds.
    """
    a = point.architecture.named(point.theta)["w2"].abs()
    forwards = _weights_of_units(point, 1.0)
    oriented = (a * forwards).sum(1)
    return (a * torch.minimum(forwards, _weights_of_units(point, -1.0))).sum(1), oriented


def _weights_of_units(point: Point, sign: float) -> Float[Tensor, "B q"]:
    """Compute ‖w_i‖ g̃(sign u_i, sign t_i) of every unit."""
    z = sign * point.before[0]
    derivative = point.derivative(z > 0)
    mean = (derivative * z).mean(-1).abs()
    m = torch.matmul(derivative, point.x) / point.n  # with biases its last column is P
    return mean * torch.linalg.vector_norm(m, dim=-1)


def variation_norm(point: Point) -> Float[Tensor, " B"]:
    """Compute Σ |a_i| ‖w_i‖ of shallow networks."""
    named = point.architecture.named(point.theta)
    return (named["w2"].abs() * torch.linalg.vector_norm(named["w1"], dim=-1)).sum(1)


def best_constant_loss(point: Point) -> Float[Tensor, " B"]:
    """Compute ½ Var y, the least (1/2n) Σ (c - y_j)² of all constants c; NaN where labels are equal: none is better."""
    half = (point.y - point.y.mean(1, keepdim=True)).square().mean(1) / 2
    return torch.where(point.y.amax(1) > point.y.amin(1), half, torch.nan)


def dead_fraction(point: Point) -> Float[Tensor, " B"]:
    """Return the share of hidden units that are inactive on all training inputs."""
    dead = torch.cat([(z <= 0).all(-1) for z in point.before], 1)
    return dead.to(point.y.dtype).mean(1)


# Everything that a row records ---------------------------------------------------------------------------------------


_ERRORS = {"finite", "largest_residual"}  # in a survey besides what is recorded of a point
_OF_SHALLOW = {"stability_norm", "oriented_stability_norm", "variation_norm", "residual_correction"}


def summary(point: Point) -> dict[str, Float[Tensor, " B"]]:
    """Measure all but errors and curvature: column → (B,)."""
    if point.survey:
        lacking = _ERRORS if len(point.architecture.sizes) == 3 else {*_ERRORS, *_OF_SHALLOW}
        return {name: column for name, column in point.survey._asdict().items() if name not in lacking}
    measures = {
        "loss": loss(point),
        "mean_gradient_bound": mean_gradient_bound(point),
        "parameter_norm": torch.linalg.vector_norm(point.theta, dim=1),
        "dead_fraction": dead_fraction(point),
    }
    if len(point.before) == 1:
        stability_norm, oriented = stability_norms(point)
        measures |= {
            "stability_norm": stability_norm,
            "oriented_stability_norm": oriented,
            "variation_norm": variation_norm(point),
            "residual_correction": residual_correction(point),
        }
    return measures


def moment(point: Point) -> tuple[dict[str, Tensor], Eigenpair]:
    """Measure what a moment of a trajectory records, and more: column → (B,); and the top eigenpair of Gauss–Newton."""
    newton = gauss_newton_top(point)
    exact = hessian_top(point, newton)
    measures = {"sharpness": exact.value, "sharpness_residual": exact.residual, "gn_sharpness": newton.value}
    return measures | summary(point), newton


def end(point: Point, test: Point | None, lr: Float[Tensor, " B"]) -> Mapping[str, Tensor]:
    """Measure what a run's row records: column → (B,). `test` has the test set, if there is one."""
    measures, newton = moment(point)
    marks = on_kink(point, lr)
    measures |= {
        "train_rmse": (2 * measures["loss"]).sqrt(),
        "unexplained_fraction": measures["loss"] / best_constant_loss(point),
        "gn_sharpness_min": least_gauss_newton_sharpness(point, newton, marks),
        "eos_ratio": lr * measures["sharpness"] / 2,
        "knot_points": _count(marks),
    }
    if test is not None:
        measures |= {"test_rmse": (2 * loss(test)).sqrt(), "test_sup": largest_residual(test)}
    return measures
