"""The survey of layered networks: one pass over the samples of each."""

import numpy as np
import torch

from relusweep.sweep.kernels.jit.compiled import compiled
from relusweep.sweep.kernels.measures.layered.network import arguments, forward, pull, rows_of, sensitivities
from relusweep.sweep.kernels.measures.networks import Networks
from relusweep.sweep.kernels.measures.survey import Survey


def survey(networks: Networks) -> Survey:
    """Return what one pass over the samples shows of every network."""
    found = networks.theta.new_full((len(Survey._fields), len(networks.theta)), torch.nan)
    _survey(*arguments(networks), found.numpy())
    return Survey(*found)


@compiled
def _survey(theta, x, y, slopes, layers, found):
    """Fill `found`, a row a number of `Survey`; the other arguments are those of `layered.network`."""
    (count, p), n = theta.shape, len(layers.residual)
    gradient, ones = np.empty(p), np.full(n, 1 / n)
    for b in range(count):
        weights, inputs = theta[b], x[b if len(x) > 1 else 0]
        forward(weights, inputs, y[b], slopes[b], layers, layers.changes)
        squares, absolutes, largest, finite = 0.0, 0.0, 0.0, True
        for j in range(n):
            away = abs(layers.residual[j])
            squares += away**2
            absolutes += away
            largest = max(largest, away)
            finite &= away < np.inf  # np.isfinite subtracts, and differences of equals are taken for 0 here
        dead, units = 0, 0
        for index in range(len(layers.inputs) - 1):
            z = layers.changes[index]
            units += z.shape[1]
            for i in range(z.shape[1]):
                alive = False
                for j in range(n):
                    alive |= z[j, i] > 0.0
                dead += not alive
        sensitivities(layers)
        pull(layers, ones, gradient)
        found[:6, b] = (
            1.0 if finite else 0.0, squares / n / 2, largest, (gradient**2).sum(), np.sqrt((weights**2).sum()),
            dead / units,
        )  # fmt: skip
        if len(layers.inputs) == 2:
            found[6:9, b] = _norms(weights, slopes[b], layers)
            farthest = 0.0
            for j in range(n):
                farthest = max(farthest, (inputs[j] ** 2).sum())
            found[9, b] = absolutes / n * np.sqrt(farthest)


@compiled
def _norms(theta, slope, layers):
    """Return the stability norm, the oriented one, and the variation norm of a shallow network; z is in `changes`."""
    z, x, rows, plain = layers.changes[0], layers.inputs[0], rows_of(theta, layers, 0), layers.plain[0]
    a, n = layers.plain[1][0], len(layers.residual)
    side, slant, slant_behind = np.empty(n), np.empty(rows.shape[1]), np.empty(rows.shape[1])
    shallow, oriented, variation = 0.0, 0.0, 0.0
    for i in range(len(a)):
        height, height_behind = 0.0, 0.0
        for j in range(n):
            side[j] = 1.0 if z[j, i] > 0.0 else slope
            height += side[j] * z[j, i]
        np.dot(side, x, slant)
        for j in range(n):
            side[j] = 1.0 if z[j, i] < 0.0 else slope
            height_behind -= side[j] * z[j, i]
        np.dot(side, x, slant_behind)
        ahead = abs(height) * np.sqrt((slant**2).sum()) / n**2
        behind = abs(height_behind) * np.sqrt((slant_behind**2).sum()) / n**2
        oriented += abs(a[i]) * ahead
        shallow += abs(a[i]) * min(ahead, behind)
        variation += abs(a[i]) * np.sqrt((plain[i] ** 2).sum())
    return shallow, oriented, variation
