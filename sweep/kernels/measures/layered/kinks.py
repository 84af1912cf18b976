"""Data on kinks of layered networks, and what they do to Gauss–Newton."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from relusweep.sweep.kernels.jit.compiled import compiled
from relusweep.sweep.kernels.measures.krylov import BASIS, search
from relusweep.sweep.kernels.measures.layered.network import arguments, forward, pull, rows_of, sensitivities, trace
from relusweep.sweep.kernels.measures.networks import Networks
from relusweep.sweep.lanczos import Eigenpair, perturbation


def on_kink(networks: Networks, lr: Float[Tensor, " B"], rounding: float) -> list[Bool[Tensor, "B _ n"]]:
    """Mark the pairs (unit, datum) with |z| < rounding · ‖w‖, and those whose z a step of gd changes by |z| or more."""
    count, n = networks.y.shape
    marks = tuple(torch.empty(count, q, n, dtype=torch.bool) for q in networks.architecture.sizes[1:])
    _on_kink(*arguments(networks), lr.numpy(), rounding, tuple(marked.numpy() for marked in marks))
    return list(marks[:-1])


def least_over_modes(
    networks: Networks, top: Eigenpair, kinks: list[Bool[Tensor, "B _ n"]], tolerance: float = 1e-9
) -> Float[Tensor, " B"]:
    """Lower the top eigenvalue of Gauss–Newton, `top`, by one greedy pass over the pairs on kinks."""
    theta, least = networks.theta, top.value.clone()
    found = [torch.nonzero(marked) for marked in kinks]
    pairs = torch.cat([torch.cat([p, torch.full_like(p[:, :1], layer)], 1) for layer, p in enumerate(found)])
    pairs = pairs[torch.sort(pairs[:, 0], stable=True).indices]
    first = torch.searchsorted(pairs[:, 0].contiguous(), torch.arange(len(theta) + 1))
    _least_over_modes(
        *arguments(networks), perturbation(theta).numpy(), tolerance, pairs.numpy(), first.numpy(),
        top.vector.contiguous().numpy(), least.numpy(),
    )  # fmt: skip
    return least


@compiled
def _on_kink(theta, x, y, slopes, layers, lr, rounding, marks):
    """Fill `marks`, (B, q, n) a layer; the other arguments are those of `layered.network`, and lr (B,)."""
    (count, p), n = theta.shape, len(layers.residual)
    gradient = np.empty(p)
    for b in range(count):
        inputs = x[b if len(x) > 1 else 0]
        forward(theta[b], inputs, y[b], slopes[b], layers, layers.changes)
        sensitivities(layers)
        pull(layers, layers.residual / n, gradient)
        forward(theta[b] - lr[b] * gradient, inputs, y[b], slopes[b], layers, layers.backs)
        for index in range(len(layers.inputs) - 1):
            z, moved, marked = layers.changes[index], layers.backs[index], marks[index][b]
            rows = rows_of(theta[b], layers, index)[:, : layers.plain[index].shape[1]]
            for i in range(len(rows)):
                near = rounding * np.sqrt((rows[i] ** 2).sum())
                for j in range(n):
                    reached = moved[j, i] != z[j, i] and abs(moved[j, i] - z[j, i]) >= abs(z[j, i])
                    marked[i, j] = reached or abs(z[j, i]) < near


@compiled
def _least_over_modes(theta, x, y, slopes, layers, perturbation, tolerance, pairs, first, vector, least):
    """Flip σ' of one (network, unit, datum, layer) of `pairs` in turn; keep what lowers `least` (B,).

    The pairs of network b are those from first[b] to first[b + 1]; `vector` (B, p) has its top eigenvector.
    NaN says that a top was not proved to be one.
    """
    count, p = theta.shape
    basis, projected = np.empty((BASIS + 1, p)), np.zeros((BASIS, BASIS))
    current, trial, image = np.empty(p), np.empty(p), np.empty(p)
    for b in range(count):
        if first[b] == first[b + 1]:
            continue
        forward(theta[b], x[b if len(x) > 1 else 0], y[b], slopes[b], layers, layers.changes)
        current[:] = vector[b]
        for t in range(first[b], first[b + 1]):
            unit, datum, gains = pairs[t, 1], pairs[t, 2], layers.gains[pairs[t, 3]]
            old = gains[datum, unit]
            gains[datum, unit] = slopes[b] if old == 1.0 else 1.0
            sensitivities(layers)
            trial[:] = current
            top, error, seen = search(layers, basis, projected, perturbation, trial, image, tolerance)
            if not top - error > trace(layers) - seen:
                least[b] = np.nan
                break
            if top < least[b]:
                least[b] = top
                current[:] = trial
            else:
                gains[datum, unit] = old
