"""Slow, obvious float64 references, independent of the code under test: one network at a time, autograd, loops."""

import itertools
import math

import numpy as np
import torch
from scipy.linalg import block_diag
from scipy.optimize import linprog
from torch import Tensor

from relusweep.sweep.run import Run

Weights = dict[str, Tensor]


def output(weights: Weights, x: Tensor, slope: float = 0.0) -> Tensor:
    """f(x) of one network, x (n, d) → (n,); weights under the names of the weights table."""

    def sigma(z: Tensor) -> Tensor:
        return torch.where(z > 0, z, slope * z)

    layers = len([name for name in weights if name.startswith("w")])
    h = x
    for index in range(1, layers):
        h = sigma(h @ weights[f"w{index}"].T + weights.get(f"b{index}", 0.0))
    return h @ weights[f"w{layers}"] + weights.get(f"b{layers}", 0.0)


def loss(weights: Weights, x: Tensor, y: Tensor, slope: float = 0.0) -> Tensor:
    """(1/2n) Σ (f(x_j) - y_j)²."""
    return ((output(weights, x, slope) - y) ** 2).sum() / (2 * len(y))


def _flat(weights: Weights) -> Tensor:
    return torch.cat([w.reshape(-1) for w in weights.values()])


def _unflat(theta: Tensor, like: Weights) -> Weights:
    pieces = theta.split([w.numel() for w in like.values()])
    return {name: piece.reshape(w.shape) for (name, w), piece in zip(like.items(), pieces, strict=True)}


def hessian(weights: Weights, x: Tensor, y: Tensor, slope: float = 0.0) -> Tensor:
    """Dense exact Hessian by double autograd; parameters in the order of `weights`."""
    return torch.autograd.functional.hessian(lambda t: loss(_unflat(t, weights), x, y, slope), _flat(weights))


def jacobian(weights: Weights, x: Tensor, slope: float = 0.0) -> Tensor:
    """∇f(x_j) by autograd, (n, p)."""
    return torch.autograd.functional.jacobian(lambda t: output(_unflat(t, weights), x, slope), _flat(weights))


def heavy_ball(curvature: float, lr: float, momentum: float) -> np.ndarray:
    """One step of m ← μ m + λ θ, θ ← θ - η m on the quadratic of curvature λ, as the matrix that takes (θ, m) on."""
    m = np.array([curvature, momentum])
    return np.stack([np.array([1, 0]) - lr * m, m])


def nesterov(curvature: float, lr: float, momentum: float) -> np.ndarray:
    """One step of m ← μ m + λ θ, θ ← θ - η (λ θ + μ m) on the quadratic of curvature λ, as `heavy_ball`."""
    m = np.array([curvature, momentum])
    return np.stack([np.array([1, 0]) - lr * (np.array([curvature, 0]) + momentum * m), m])


def growth(step: np.ndarray) -> float:
    """Largest |eigenvalue|: the factor by which a deviation grows a step in the end."""
    return float(np.abs(np.linalg.eigvals(step)).max())


def rate_factor(run: Run, step: int) -> float:
    """What the step size is multiplied by at a step, literally as documented."""
    if step < run.warmup_steps:
        return (step + 1) / run.warmup_steps
    after, length = step - run.warmup_steps, run.max_steps - run.warmup_steps
    if run.schedule == "linear":
        return 1 - after / length
    if run.schedule == "cosine":
        return (1 + math.cos(math.pi * after / length)) / 2
    if run.schedule == "step":
        return run.schedule_factor ** (after // run.schedule_every)
    return 1.0


def train(
    run: Run,
    weights: Weights,
    x: Tensor,
    y: Tensor,
    batches: list[Tensor] | None = None,
    noises: list[Tensor] | None = None,
) -> Weights:
    """Train one network with torch.optim and autograd, for run.max_steps steps.

    `batches` gives the rows of a step, `noises` what is added to their labels.
    """
    weights = {name: w.clone().requires_grad_() for name, w in weights.items()}
    groups = []
    for name, w in weights.items():
        rate = run.lr
        if math.isinf(run.lr_ratio):
            rate = run.lr if name[1] == "2" else 0.0
        elif name[1] == "2":
            rate = run.lr * run.lr_ratio
        decay = run.weight_decay if name[0] == "w" or run.decay_bias else 0.0
        groups.append({"params": [w], "lr": rate, "base": rate, "weight_decay": decay})
    if run.optimizer in ("adam", "adamw"):
        maker = torch.optim.Adam if run.optimizer == "adam" else torch.optim.AdamW
        betas = (0.9 if run.beta1 is None else run.beta1, 0.999 if run.beta2 is None else run.beta2)
        optimizer = maker(groups, betas=betas, eps=run.epsilon or 1e-8)
    else:
        optimizer = torch.optim.SGD(groups, 1.0, run.momentum or 0.0, nesterov=run.optimizer == "nesterov")
    for step in range(run.max_steps):
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * rate_factor(run, step)
        rows = slice(None) if batches is None else batches[step]
        labels = y[rows] if noises is None else y[rows] + noises[step]
        optimizer.zero_grad()
        loss(weights, x[rows], labels, run.negative_slope or 0.0).backward()
        if run.clip:
            length = math.sqrt(sum(float((w.grad**2).sum()) for w in weights.values()))
            for w in weights.values():
                w.grad *= min(1.0, run.clip / length)  # torch.nn.utils.clip_grad_norm_ divides by length + 1e-6
        optimizer.step()
    return {name: w.detach() for name, w in weights.items()}


def weight_function(u: np.ndarray, t: float, x: np.ndarray) -> float:
    """g̃(u, t) literally as in science: P² · E[u·X - t | active] · √(1 + ‖E[X | active]‖²)."""
    active = x @ u > t
    share = active.mean()
    if share == 0:
        return 0.0
    return share**2 * (x[active] @ u - t).mean() * math.sqrt(1 + np.sum(x[active].mean(0) ** 2))


def stability_norms(weights: Weights, x: np.ndarray) -> tuple[float, float]:
    """(S, S̃) of a shallow network with biases, unit by unit."""
    shallow = oriented = 0.0
    for w, b, a in zip(weights["w1"].numpy(), weights["b1"].numpy(), weights["w2"].numpy(), strict=True):
        length = np.linalg.norm(w)
        if length == 0:
            continue
        u, t = w / length, -b / length
        forwards, backwards = weight_function(u, t, x), weight_function(-u, -t, x)
        oriented += abs(a) * length * forwards
        shallow += abs(a) * length * min(forwards, backwards)
    return shallow, oriented


def weights_of(theta: np.ndarray, run: Run) -> Weights:
    """Read a flat parameter vector: rows [w_i, b_i] of each layer in turn."""
    sizes, weights, start = [run.d, run.width, *([run.width2] if run.width2 else []), 1], {}, 0
    for index, (inputs, units) in enumerate(itertools.pairwise(sizes), 1):
        bias = run.bias and (index < len(sizes) - 1 or run.output_bias is None)
        columns = inputs + bias
        rows = torch.tensor(theta[start : start + units * columns], dtype=torch.float64).reshape(units, columns)
        start += units * columns
        last = index == len(sizes) - 1
        weights[f"w{index}"] = rows[0, :inputs] if last else rows[:, :inputs]
        if bias:
            weights[f"b{index}"] = rows[0, -1] if last else rows[:, -1]
    return weights


def unit_cost(w: np.ndarray, b: float, x: np.ndarray, norm: str) -> float:
    """What a unit σ(w·x + b) of output weight 1 adds to S, S̃ or S_G; data on its kink are inactive."""
    length = float(np.linalg.norm(w))
    if length == 0:
        return 0.0
    u, t = w / length, -b / length
    if norm == "sufficient":
        active = x @ u > t
        square = (np.maximum(x @ u - t, 0) ** 2).mean()
        return length * math.sqrt(square * np.where(active, 1 + (x**2).sum(1), 0).mean())
    forwards, backwards = weight_function(u, t, x), weight_function(-u, -t, x)
    return length * (min(forwards, backwards) if norm == "stability" else forwards)


def least_error_over_units(
    x: np.ndarray, y: np.ndarray, budget: float, norm: str, w: np.ndarray, b: np.ndarray
) -> float:
    """Least sup-error of networks made of the units σ(w_i·x + b_i) alone, of norm ≤ budget: one linear programme."""
    n = len(x)
    columns = np.maximum(x @ w.T + b, 0)
    costs = np.array([unit_cost(row, bias, x, norm) for row, bias in zip(w, b, strict=True)])
    free = np.c_[x, np.ones(n)] if norm == "stability" else np.ones((n, 1))
    fit, error = np.hstack([columns, -columns, free]), -np.ones((n, 1))
    charge = np.concatenate([costs, costs, np.zeros(free.shape[1] + 1)])
    rows = np.vstack([np.hstack([fit, error]), np.hstack([-fit, error]), charge])
    bounds = [(0, None)] * (2 * len(w)) + [(None, None)] * (free.shape[1] + 1)
    solved = linprog(np.eye(len(charge))[-1], rows, np.concatenate([y, -y, [budget]]), bounds=bounds)
    assert solved.status == 0, solved.message
    return solved.fun


def least_error_over_cells(x: np.ndarray, y: np.ndarray, budget: float, *, oriented: bool) -> float:
    """Least sup-error of shallow networks with norm S (or S̃) ≤ budget, as a convex programme over cells of units.

    All units that split the data alike are one pair of vectors (w, b), for positive and negative amplitudes: on their
    cone, outputs and cost are linear. No hyperplane through data is enumerated; every one of the 2ⁿ splits is asked
    for whether some hyperplane makes it.
    """
    n, d = x.shape
    marks = np.c_[x, np.ones(n)]
    outputs, costs, cones = [], [], []
    for split in itertools.product([False, True], repeat=n):
        mask = np.array(split)
        side = np.where(mask, 1.0, -1.0)[:, None] * marks
        if linprog(np.zeros(d + 1), -side, -np.ones(n), bounds=(None, None)).status == 2:
            continue
        branches = [(mask, 1)] if oriented else [(mask, 1), (~mask, -1)]
        for active, sign in branches:
            factor = np.linalg.norm(active @ marks) / n
            for amplitude in (1, -1):
                outputs.append(amplitude * mask[:, None] * marks)
                costs.append(sign * factor * (active @ marks) / n)
                cones.append(side)
    k = len(costs) * (d + 1)
    fit = np.hstack([np.hstack(outputs), np.ones((n, 1))])
    error = -np.ones((n, 1))
    rows = [np.hstack([fit, error]), np.hstack([-fit, error]), np.append(np.concatenate(costs), [0, 0])[None]]
    rows.append(np.hstack([-block_diag(*cones), np.zeros((len(cones) * n, 2))]))
    limits = np.concatenate([y, -y, [budget], np.zeros(len(cones) * n)])
    solved = linprog(np.eye(k + 2)[-1], np.vstack(rows), limits, bounds=(None, None))
    assert solved.status == 0, solved.message
    return solved.fun
