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
from relusweep.sweep.lanczos import Eigenpair, perturbation


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
