"""A network of any layers as the compiled measures take it: arrays, and the passes forward and back.

With n samples and layers of q units whose rows [w, b] multiply i inputs, the output a layer like the others:
δ = ∂f/∂z (n, q) and the inputs h̃ (n, i) of all layers make the Jacobian, as in `sweep.measure`.
"""

from typing import Any, NamedTuple

import numpy as np

from relusweep.sweep.kernels.jit.compiled import compiled
from relusweep.sweep.kernels.jit.threads import one_thread
from relusweep.sweep.kernels.measures.networks import Networks


class Layers(NamedTuple):
    """A network between two products: an array a layer, first to last."""

    firsts: Any  # where its rows begin among the p parameters
    plain: Any  # its weights without biases (q, i - bias)
    inputs: Any  # what its rows multiply (n, i)
    gains: Any  # σ'(z) (n, q)
    deltas: Any  # ∂f/∂z (n, q)
    forces: Any  # ∂L/∂z (n, q)
    changes: Any  # z, then what changes along a vector (n, q)
    backs: Any  # what comes back from the layers above (n, q)
    turned: Any  # the plain part of a vector's rows (q, i - bias)
    residual: Any  # f - y (n,), no array a layer
    exact: Any  # whether the matrix is the Hessian, and not Gauss–Newton


def supports(networks: Networks) -> bool:
    """Return whether these programs measure networks of this architecture on these inputs: all that there are."""
    return True


def arguments(networks: Networks, *, exact: bool = False) -> tuple[Any, ...]:
    """Return what every program begins with.

    Returns:
        theta: Weights (B, p), float64 as everything else.
        x: Inputs (1, n, i) of all or (B, n, i), with the column of ones.
        y: Targets (B, n).
        slopes: Of the negative side (B,).
        layers: The room that one network after the other takes; `exact` says whether products are the Hessian's.
    """
    one_thread()
    return *networks.arrays(), _layers(networks, exact)


def _layers(networks: Networks, exact: bool) -> Layers:
    shapes, n = networks.architecture.shapes, networks.y.shape[1]
    firsts = tuple(sum(q * i for q, i in shapes[:index]) for index in range(len(shapes)))
    gains, deltas, forces, changes, backs = (tuple(np.empty((n, q)) for q, _ in shapes) for _ in range(5))
    plain, turned = (
        tuple(np.empty((q, i - bias)) for (q, i), bias in zip(shapes, networks.architecture.biases, strict=True))
        for _ in range(2)
    )
    inputs = tuple(np.empty((n, i)) for _, i in shapes)
    return Layers(firsts, plain, inputs, gains, deltas, forces, changes, backs, turned, np.empty(n), exact)


@compiled
def rows_of(vector, layers, index):
    """View the rows (q, i) of a layer in a vector of all parameters."""
    q, i = layers.deltas[index].shape[1], layers.inputs[index].shape[1]
    first = layers.firsts[index]
    return vector[first : first + q * i].reshape(q, i)


@compiled
def forward(theta, x, y, slope, layers, before):
    """Fill inputs, gains, plain and the residual, and the pre-activations `before`, an array (n, q) a layer."""
    last = len(layers.inputs) - 1
    layers.inputs[0][:] = x
    for index in range(last + 1):
        rows, z, plain = rows_of(theta, layers, index), before[index], layers.plain[index]
        plain[:] = rows[:, : plain.shape[1]]
        np.dot(layers.inputs[index], rows.T, z)
        gains = layers.gains[index]
        if index == last:
            gains[:] = 1.0
            layers.residual[:] = z[:, 0] - y
        else:
            h = layers.inputs[index + 1]
            for j in range(len(z)):
                for i in range(z.shape[1]):
                    gains[j, i] = 1.0 if z[j, i] > 0.0 else slope
                    h[j, i] = gains[j, i] * z[j, i]
                if h.shape[1] > z.shape[1]:
                    h[j, z.shape[1]] = 1.0


@compiled
def sensitivities(layers):
    """Fill deltas from gains and plain weights, and forces from these and the residual."""
    n, last = len(layers.residual), len(layers.inputs) - 1
    layers.deltas[last][:] = 1.0
    for index in range(last, -1, -1):
        delta, force, gains = layers.deltas[index], layers.forces[index], layers.gains[index]
        if index < last:
            np.dot(layers.deltas[index + 1], layers.plain[index + 1], delta)
        for j in range(n):
            for i in range(delta.shape[1]):
                delta[j, i] *= gains[j, i]
                force[j, i] = layers.residual[j] / n * delta[j, i]


@compiled
def pull(layers, factors, image):
    """Write Σ_j factors_j ∇f(x_j) to `image` (p,)."""
    for index in range(len(layers.inputs)):
        back, delta = layers.backs[index], layers.deltas[index]
        for j in range(len(back)):
            for i in range(back.shape[1]):
                back[j, i] = factors[j] * delta[j, i]
        np.dot(back.T, layers.inputs[index], rows_of(image, layers, index))


@compiled
def trace(layers):
    """Compute the trace of Gauss–Newton: the mean of ‖∇f‖², layer by layer (Σ δ²)(Σ h̃²)."""
    total = 0.0
    for index in range(len(layers.inputs)):
        delta, h = layers.deltas[index], layers.inputs[index]
        for j in range(len(delta)):
            total += (delta[j] ** 2).sum() * (h[j] ** 2).sum()
    return total / len(layers.residual)
