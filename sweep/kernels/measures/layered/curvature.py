"""Top eigenpairs of Hessian and Gauss–Newton of layered networks.

A product with the Hessian is the gradient differentiated along v, as in `sweep.measure`.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.kernels.jit.compiled import compiled
from relusweep.sweep.kernels.measures.krylov import BASIS, assign, has_product, improve
from relusweep.sweep.kernels.measures.layered.network import (
    Layers,
    arguments,
    forward,
    pull,
    rows_of,
    sensitivities,
    trace,
)
from relusweep.sweep.kernels.measures.networks import Networks
from relusweep.sweep.kernels.measures.several import MOST_SAMPLES, SPACE, several
from relusweep.sweep.lanczos import Eigenpair, perturbation


def gauss_newton_trace(networks: Networks) -> Float[Tensor, " B"]:
    """Compute the trace of Gauss–Newton of every network."""
    found = torch.empty_like(networks.theta[:, 0])
    _traces(*arguments(networks), found.numpy())
    return found


def top_eigenpair(
    networks: Networks, *, exact: bool, start: Float[Tensor, "B p"] | None = None, tolerance: float = 1e-6
) -> Eigenpair:
    """Find the top eigenpair of the Hessian, or of Gauss–Newton if not `exact`, of every network."""
    theta = networks.theta
    vector = torch.empty_like(theta) if start is None else start.clone()
    value, residual, rest = torch.empty(3, len(theta), dtype=theta.dtype)
    _top_eigenpairs(
        *arguments(networks, exact=exact), perturbation(theta).numpy(), tolerance, start is not None, value.numpy(),
        vector.numpy(), residual.numpy(), rest.numpy(),
    )  # fmt: skip
    return Eigenpair(value, vector, residual, rest)


def largest_eigenvalues(
    networks: Networks, count: int, tolerance: float, *, exact: bool = True
) -> tuple[Float[Tensor, "B k"], Float[Tensor, "B k"], Float[Tensor, " B"]]:
    """Find the largest eigenvalues of the Hessian, or of Gauss–Newton: values, residuals, bounds of the others."""
    theta = networks.theta
    values, residuals = torch.empty(2, len(theta), count, dtype=theta.dtype)
    rest = torch.empty_like(theta[:, 0])
    _largest_eigenvalues(
        *arguments(networks, exact=exact), perturbation(theta).numpy(), tolerance, values.numpy(), residuals.numpy(),
        rest.numpy(),
    )  # fmt: skip
    return values, residuals, rest


@compiled
def _traces(theta, x, y, slopes, layers, found):
    """Fill `found` (B,); the other arguments are those of `layered.network`."""
    for b in range(len(theta)):
        forward(theta[b], x[b if len(x) > 1 else 0], y[b], slopes[b], layers, layers.changes)
        sensitivities(layers)
        found[b] = trace(layers)


@compiled
def _product(layers, v, image):
    """Write the Hessian's product with v, or Gauss–Newton's, to `image`."""
    n, last = len(layers.residual), len(layers.inputs) - 1
    for index in range(last + 1):
        change, back = layers.changes[index], layers.backs[index]
        np.dot(layers.inputs[index], rows_of(v, layers, index).T, change)
        if index:
            np.dot(layers.changes[index - 1], layers.plain[index].T, back)
            change += back
        change *= layers.gains[index]
    along = layers.changes[last] / n
    if not layers.exact:
        pull(layers, along[:, 0], image)
        return
    layers.backs[last][:] = along
    for index in range(last, -1, -1):
        back, force, into = layers.backs[index], layers.forces[index], rows_of(image, layers, index)
        np.dot(back.T, layers.inputs[index], into)
        if index:
            turned, below, change = layers.turned[index], layers.backs[index - 1], layers.changes[index - 1]
            np.dot(force.T, change, turned)
            into[:, : turned.shape[1]] += turned
            turned[:] = rows_of(v, layers, index)[:, : turned.shape[1]]
            np.dot(force, turned, change)
            np.dot(back, layers.plain[index], below)
            below += change
            below *= layers.gains[index - 1]


has_product(Layers, lambda network, v, image: _product(network, v, image))  # noqa: PLW0108 - compiled as it stands


@compiled
def _top_eigenpairs(theta, x, y, slopes, layers, perturbation, tolerance, given, value, vector, residual, rest):
    """Fill value (B,), vector (B, p), residual (B,) and rest (B,); the first arguments are those of `layered.network`.

    `perturbation` (p,) is added to every unit start; `given` says to start from what is in `vector`, and not from the
    mean gradient.
    """
    count, p = theta.shape
    ones = np.full(len(layers.residual), 1 / len(layers.residual))
    basis, projected = np.empty((BASIS + 1, p)), np.zeros((BASIS, BASIS))
    current, image = np.empty(p), np.empty(p)
    for b in range(count):
        forward(theta[b], x[b if len(x) > 1 else 0], y[b], slopes[b], layers, layers.changes)
        sensitivities(layers)
        if given:
            assign(current, 0.0, 1.0, vector[b])
        else:
            pull(layers, ones, current)
        value[b], residual[b], seen = improve(layers, basis, projected, perturbation, current, image, tolerance)
        rest[b] = np.inf if layers.exact else trace(layers) - seen
        assign(vector[b], 0.0, 1.0, current)


@compiled
def _largest_eigenvalues(theta, x, y, slopes, layers, start, tolerance, values, residuals, rest):
    """Fill values and residuals (B, k), and rest (B,); the first arguments are those of `layered.network`."""
    (count, p), n = theta.shape, len(layers.residual)
    basis, image = np.empty((min(SPACE, p) + 1, p)), np.empty(p)
    small = n if n <= MOST_SAMPLES else 0
    grams = np.empty((small, small)), np.empty((small, small)), np.empty((small, small))
    for b in range(count):
        forward(theta[b], x[b if len(x) > 1 else 0], y[b], slopes[b], layers, layers.changes)
        sensitivities(layers)
        sums = _sums(layers, grams)
        rest[b] = several(layers, basis, start, image, tolerance, sums, values[b], residuals[b])


@compiled
def _sums(layers, grams):
    """Return bounds of the sum of all eigenvalues above zero, and of the sum of all squares.

    As in `shallow.curvature`; infinite of deep Hessians. `grams` is room for three matrices n×n, or none with large n.
    """
    if layers.exact and len(layers.inputs) > 2:
        return np.inf, np.inf
    above_zero, squares, n = trace(layers), 0.0, len(layers.residual)
    gram, one, other = grams
    if layers.exact:
        more, more_squares = _residual_sums(layers)
        above_zero += more
        squares += more_squares
    if not len(gram):
        return above_zero, np.inf
    gram[:] = 0.0
    for index in range(len(layers.inputs)):
        np.dot(layers.deltas[index], layers.deltas[index].T, one)
        np.dot(layers.inputs[index], layers.inputs[index].T, other)
        gram += one * other
    return above_zero, squares + (gram**2).sum() / n**2


@compiled
def _residual_sums(layers):
    """Return what a shallow network's residual term R adds to these: its own sum above zero, and tr R² + 2 tr GR."""
    n, k = layers.gains[0].shape
    weighted, along = np.empty((n, k)), np.empty((n, k))
    coupling = np.empty((k, layers.inputs[0].shape[1]))
    for j in range(n):
        for i in range(k):
            weighted[j, i] = layers.residual[j] / n * layers.gains[0][j, i]
    np.dot(weighted.T, layers.inputs[0], coupling)
    above_zero, squares = 0.0, 0.0
    for i in range(k):
        square = (coupling[i] ** 2).sum()
        above_zero += np.sqrt(square)
        squares += 2 * square
    np.dot(layers.inputs[0], coupling.T, along)
    for j in range(n):
        for i in range(k):
            squares += 4 * along[j, i] * layers.deltas[0][j, i] * layers.inputs[1][j, i] / n
    return above_zero, squares
