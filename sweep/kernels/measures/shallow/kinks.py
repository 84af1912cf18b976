"""Data on kinks of shallow networks, and what they do to Gauss–Newton.

Equal to `on_kink` and `least_gauss_newton_sharpness` of `sweep.measure` on tensors.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from relusweep.sweep.kernels.jit.compiled import compiled
from relusweep.sweep.kernels.measures.krylov import BASIS, search
from relusweep.sweep.kernels.measures.networks import Networks
from relusweep.sweep.kernels.measures.shallow.arrays import arrays
from relusweep.sweep.kernels.measures.shallow.curvature import Network, prepare, trace
from relusweep.sweep.lanczos import Eigenpair, perturbation


def on_kink(networks: Networks, lr: Float[Tensor, " B"], rounding: float) -> list[Bool[Tensor, "B _ n"]]:
    """Mark the pairs (unit, datum) with |z| < rounding · ‖w‖, and those whose z a step of gd changes by |z| or more."""
    count, n = networks.y.shape
    marks = torch.empty(count, networks.architecture.sizes[1], n, dtype=torch.bool)
    _on_kink(*arrays(networks), lr.numpy(), rounding, marks.numpy())
    return [marks]


def least_over_modes(
    networks: Networks, top: Eigenpair, kinks: list[Bool[Tensor, "B _ n"]], tolerance: float = 1e-9
) -> Float[Tensor, " B"]:
    """Lower the top eigenvalue of Gauss–Newton, `top`, by one greedy pass over the pairs on kinks."""
    theta, order = networks.theta, networks.architecture.by_feature
    least, vector = top.value.clone(), top.vector[:, order]
    pairs = torch.nonzero(kinks[0])
    first = torch.searchsorted(pairs[:, 0].contiguous(), torch.arange(len(theta) + 1))
    _least_over_modes(
        *arrays(networks), perturbation(theta)[order].numpy(), tolerance, pairs.numpy(), first.numpy(), vector.numpy(),
        least.numpy(),
    )  # fmt: skip
    return least


@compiled
def _on_kink(axes, theta, x, y, slopes, biases, lr, rounding, marks):
    """Fill `marks` (B, q, n); the other arguments are those of `shallow.arrays`, and lr (B,)."""
    (count, p), n = theta.shape, x.shape[1]
    k = (p - biases.output) // (len(axes) + 1)
    gains, hidden, coupling, ascent = np.empty((n, k)), np.empty((n, k)), np.empty(len(axes) * k), np.empty(p)
    for b in range(count):
        weights, inputs = theta[b], x[b if len(x) > 1 else 0]
        prepare(axes, weights, inputs, y[b], slopes[b], biases, gains, hidden, coupling, ascent)
        for i in range(k):
            length, pull = 0.0, lr[b] * weights[len(axes) * k + i]
            for q in range(len(axes)):
                length += weights[q * k + i] ** 2 if q < len(axes) - biases.hidden else 0.0
            for j in range(n):
                z, change = 0.0, 0.0
                for q in range(len(axes)):
                    z += weights[q * k + i] * inputs[j, q]
                    change += pull * coupling[q * k + i] * inputs[j, q]
                reached = abs(change) >= abs(z) and change != 0.0
                marks[b, i, j] = reached or abs(z) < rounding * np.sqrt(length)


@compiled
def _least_over_modes(axes, theta, x, y, slopes, biases, perturbation, tolerance, pairs, first, vector, least):
    """Flip σ' of one (network, unit, datum) of `pairs` after the other; keep what lowers `least` (B,).

    The pairs of network b are those from first[b] to first[b + 1]; `vector` (B, p) has its top eigenvector.
    NaN says that a top was not proved to be one.
    """
    (count, p), n = theta.shape, x.shape[1]
    k = (p - biases.output) // (len(axes) + 1)
    gains, hidden, coupling = np.empty((n, k)), np.empty((n, k)), np.empty(len(axes) * k)
    basis, projected = np.empty((BASIS + 1, p)), np.zeros((BASIS, BASIS))
    current, trial, image = np.empty(p), np.empty(p), np.empty(p)
    for b in range(count):
        if first[b] == first[b + 1]:
            continue
        inputs = x[b if len(x) > 1 else 0]
        prepare(axes, theta[b], inputs, y[b], slopes[b], biases, gains, hidden, coupling, current)
        current[:] = vector[b]
        for t in range(first[b], first[b + 1]):
            unit, datum = pairs[t, 1], pairs[t, 2]
            old, a = gains[datum, unit], theta[b, len(axes) * k + unit]
            gains[datum, unit] = slopes[b] * a if old == a else a
            trial[:] = current
            network = Network(axes, inputs, gains, hidden, coupling[:0], biases)
            top, error, seen = search(network, basis, projected, perturbation, trial, image, tolerance)
            if not top - error > trace(axes, inputs, gains, hidden, biases) - seen:
                least[b] = np.nan
                break
            if top < least[b]:
                least[b] = top
                current[:] = trial
            else:
                gains[datum, unit] = old
