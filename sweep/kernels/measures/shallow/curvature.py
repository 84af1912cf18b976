"""Top eigenpairs of Hessian and Gauss–Newton of shallow networks.

One pass over the samples makes a product: with σ' the derivative at z_ij = w_i·x_j, h̃_j the hidden units, and
v = (V, v_a, v_c),

    s_j = ∇f(x_j)·v = Σ_i a_i σ'_ij V_i·x_j + v_a·h_j + v_c          (1/n) JᵀJ v = (1/n) Σ_j s_j ∇f(x_j)

and off the kinks the residual term couples the weights of each unit alone: with m_i = (1/n) Σ_j r_j σ'_ij x_j it adds
v_a,i m_i to the rows of w_i and m_i·V_i to that of a_i. Vectors are kept as rows over the units: one row for each
feature, one of v_a, then v_c.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.kernels.jit.compiled import compiled
from relusweep.sweep.kernels.measures.krylov import BASIS, assign, dot, has_product, improve
from relusweep.sweep.kernels.measures.networks import Networks
from relusweep.sweep.kernels.measures.several import MOST_SAMPLES, SPACE, several
from relusweep.sweep.kernels.measures.shallow.arrays import arrays
from relusweep.sweep.lanczos import Eigenpair, perturbation


class Network(NamedTuple):
    """What a product needs of a network."""

    axes: Any  # (0, …, i - 1)
    x: Any  # inputs (n, i)
    gains: Any  # a σ' (n, k)
    hidden: Any  # units (n, k)
    coupling: Any  # rows m (i k,), or nothing for Gauss–Newton
    biases: Any  # which units have biases


def gauss_newton_trace(networks: Networks) -> Float[Tensor, " B"]:
    """Compute the trace of Gauss–Newton of every network."""
    found = torch.empty_like(networks.theta[:, 0])
    _traces(*arrays(networks), found.numpy())
    return found


def top_eigenpair(
    networks: Networks, *, exact: bool, start: Float[Tensor, "B p"] | None = None, tolerance: float = 1e-6
) -> Eigenpair:
    """Find the top eigenpair of the Hessian, or of Gauss–Newton if not `exact`, of every network."""
    theta, order = networks.theta, networks.architecture.by_feature
    vector = torch.empty_like(theta) if start is None else start[:, order]
    value, residual, rest = torch.empty(3, len(theta), dtype=theta.dtype)
    _top_eigenpairs(
        *arrays(networks), perturbation(theta)[order].numpy(), exact, tolerance, start is not None, value.numpy(),
        vector.numpy(), residual.numpy(), rest.numpy(),
    )  # fmt: skip
    return Eigenpair(value, vector[:, torch.argsort(order)], residual, rest)


def largest_eigenvalues(
    networks: Networks, count: int, tolerance: float, *, exact: bool = True
) -> tuple[Float[Tensor, "B k"], Float[Tensor, "B k"], Float[Tensor, " B"]]:
    """Find the largest eigenvalues of the Hessian, or of Gauss–Newton: values, residuals, bounds of the others."""
    theta, order = networks.theta, networks.architecture.by_feature
    values, residuals = torch.empty(2, len(theta), count, dtype=theta.dtype)
    rest = torch.empty_like(theta[:, 0])
    _largest_eigenvalues(
        *arrays(networks), perturbation(theta)[order].numpy(), exact, tolerance, values.numpy(), residuals.numpy(),
        rest.numpy(),
    )  # fmt: skip
    return values, residuals, rest


@compiled
def prepare(axes, weights, x, y, slope, biases, gains, hidden, coupling, ascent):
    """Fill a_i σ'_ij and h_ij, both (n, k), the rows m_q one after the other, and the mean of ∇f (p,)."""
    n, k = gains.shape
    end = len(axes) * k
    a, mean = weights[end : end + k], ascent[end : end + k]
    c = weights[end + k] if biases.output else 0.0
    coupling[:] = 0.0
    ascent[:] = 0.0
    ascent[end + k :] = 1.0
    for j in range(n):
        gain, h = gains[j], hidden[j]
        f = c
        for i in range(k):
            z = 0.0
            for q in range(len(axes)):
                z += weights[q * k + i] * x[j, q]
            gain[i] = 1.0 if z > 0.0 else slope
            h[i] = gain[i] * z
            f += a[i] * h[i]
        weight = (f - y[j]) / n
        for i in range(k):
            mean[i] += h[i] / n
            for q in range(len(axes)):
                coupling[q * k + i] += weight * gain[i] * x[j, q]
            gain[i] *= a[i]
            for q in range(len(axes)):
                ascent[q * k + i] += gain[i] / n * x[j, q]


@compiled
def trace(axes, x, gains, hidden, biases):
    """Compute the trace of Gauss–Newton: the mean of ‖∇f‖²."""
    n, k = gains.shape
    total = 0.0
    for j in range(n):
        length, gain, h = 0.0, 0.0, 0.0
        for q in range(len(axes)):
            length += x[j, q] ** 2
        for i in range(k):
            gain += gains[j, i] ** 2
            h += hidden[j, i] ** 2
        total += gain * length + h
    return total / n + (1.0 if biases.output else 0.0)


@compiled
def _traces(axes, theta, x, y, slopes, biases, found):
    """Fill `found` (B,) as `trace` would, without the arrays that a product needs."""
    (count, p), n = theta.shape, x.shape[1]
    k = (p - biases.output) // (len(axes) + 1)
    for b in range(count):
        weights, inputs, slope, total = theta[b], x[b if len(x) > 1 else 0], slopes[b], 0.0
        a = weights[len(axes) * k :]
        for j in range(n):
            length, gain, h = 0.0, 0.0, 0.0
            for q in range(len(axes)):
                length += inputs[j, q] ** 2
            for i in range(k):
                z = 0.0
                for q in range(len(axes)):
                    z += weights[q * k + i] * inputs[j, q]
                side = 1.0 if z > 0.0 else slope
                gain += (side * a[i]) ** 2
                h += (side * z) ** 2
            total += gain * length + h
        found[b] = total / n + (1.0 if biases.output else 0.0)


@compiled
def _product(axes, v, x, gains, hidden, coupling, biases, image):
    """Write (1/n) JᵀJ v, and the residual term if `coupling` is not empty, to `image`."""
    n, k = gains.shape
    end = len(axes) * k
    output, image_output = v[end : end + k], image[end : end + k]  # known not to overlap the other rows
    image[:] = 0.0
    for j in range(n):
        gain, h = gains[j], hidden[j]
        s = v[end + k] if biases.output else 0.0
        for i in range(k):
            change = 0.0
            for q in range(len(axes)):
                change += v[q * k + i] * x[j, q]
            s += gain[i] * change + output[i] * h[i]
        s /= n
        for i in range(k):
            scaled = s * gain[i]
            for q in range(len(axes)):
                image[q * k + i] += scaled * x[j, q]
            image_output[i] += s * h[i]
        if biases.output:
            image[end + k] += s
    if len(coupling):
        for i in range(k):
            for q in range(len(axes)):
                image[q * k + i] += output[i] * coupling[q * k + i]
                image_output[i] += v[q * k + i] * coupling[q * k + i]


has_product(
    Network,
    lambda network, v, image: _product(
        network.axes, v, network.x, network.gains, network.hidden, network.coupling, network.biases, image
    ),
)


@compiled
def _top_eigenpairs(
    axes, theta, x, y, slopes, biases, perturbation, exact, tolerance, given, value, vector, residual, rest
):
    """Fill value (B,), vector (B, p), residual (B,) of the Hessian, or of Gauss–Newton if not `exact`; and rest (B,).

    The first arguments are those of `shallow.arrays`; `perturbation` (p,) is added to every unit start; `given` says to
    start from what is in `vector`, and not from the mean gradient.
    """
    (count, p), n = theta.shape, x.shape[1]
    k = (p - biases.output) // (len(axes) + 1)
    gains, hidden, coupling = np.empty((n, k)), np.empty((n, k)), np.empty(len(axes) * k)
    basis, projected = np.empty((BASIS + 1, p)), np.zeros((BASIS, BASIS))
    current, image = np.empty(p), np.empty(p)
    for b in range(count):
        inputs = x[b if len(x) > 1 else 0]
        prepare(axes, theta[b], inputs, y[b], slopes[b], biases, gains, hidden, coupling, current)
        if given:
            assign(current, 0.0, 1.0, vector[b])
        network = Network(axes, inputs, gains, hidden, coupling if exact else coupling[:0], biases)
        value[b], residual[b], seen = improve(network, basis, projected, perturbation, current, image, tolerance)
        rest[b] = np.inf if exact else trace(axes, inputs, gains, hidden, biases) - seen
        assign(vector[b], 0.0, 1.0, current)


@compiled
def _largest_eigenvalues(axes, theta, x, y, slopes, biases, start, exact, tolerance, values, residuals, rest):
    """Fill values and residuals (B, k), and rest (B,); the first arguments are those of `shallow.arrays`."""
    (count, p), n = theta.shape, x.shape[1]
    k = (p - biases.output) // (len(axes) + 1)
    gains, hidden, coupling = np.empty((n, k)), np.empty((n, k)), np.empty(len(axes) * k)
    basis, image = np.empty((min(SPACE, p) + 1, p)), np.empty(p)
    for b in range(count):
        inputs = x[b if len(x) > 1 else 0]
        prepare(axes, theta[b], inputs, y[b], slopes[b], biases, gains, hidden, coupling, image)
        if not exact:
            coupling[:] = 0.0
        network = Network(axes, inputs, gains, hidden, coupling if exact else coupling[:0], biases)
        sums = _sums(axes, inputs, gains, hidden, coupling, biases)
        rest[b] = several(network, basis, start, image, tolerance, sums, values[b], residuals[b])


@compiled
def _sums(axes, x, gains, hidden, coupling, biases):
    """Return bounds of the sum of all eigenvalues above zero, and of the sum of all squares."""
    n, k = gains.shape
    above_zero, squares = trace(axes, x, gains, hidden, biases), 0.0
    for i in range(k):
        square = 0.0
        for q in range(len(axes)):
            square += coupling[q * k + i] ** 2
        above_zero += np.sqrt(square)
        squares += 2 * square
    if n > MOST_SAMPLES:
        return above_zero, np.inf
    for j in range(
        n
    ):  # Σ over all pairs of the squares of the Gram matrix, and what the residual term has to do with G
        gain, h, mixed = gains[j], hidden[j], 0.0
        for i in range(k):
            along = 0.0
            for q in range(len(axes)):
                along += coupling[q * k + i] * x[j, q]
            mixed += along * gain[i] * h[i]
        squares += 4 * mixed / n
        for other in range(j + 1):
            inner = 0.0
            for q in range(len(axes)):
                inner += x[j, q] * x[other, q]
            entry = dot(gain, gains[other]) * inner + dot(h, hidden[other]) + (1.0 if biases.output else 0.0)
            squares += (1.0 if other == j else 2.0) * (entry / n) ** 2
    return above_zero, squares
