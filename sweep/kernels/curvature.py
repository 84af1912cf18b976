"""Top eigenpairs of Hessian and Gauss–Newton of shallow networks on the CPU: one compiled program, a network at a time.

A network's vectors stay in the core's cache through all of Lanczos' method, and one pass over the samples makes a
product: with σ' the derivative at z_ij = w_i·x_j, h̃_j the hidden units, and v = (V, v_a, v_c),

    s_j = ∇f(x_j)·v = Σ_i a_i σ'_ij V_i·x_j + v_a·h_j + v_c          (1/n) JᵀJ v = (1/n) Σ_j s_j ∇f(x_j)

and off the kinks the residual term couples the weights of each unit alone: with m_i = (1/n) Σ_j r_j σ'_ij x_j it adds
v_a,i m_i to the rows of w_i and m_i·V_i to that of a_i. Vectors are kept as rows over the units: one row for each
feature, one of v_a, then v_c. The methods and their checks are those of `sweep.lanczos`.
"""

import numpy as np
import torch
from torch import Tensor

from sweep.kernels.compiled import compiled, inlined
from sweep.kernels.shallow import arrays
from sweep.lanczos import Eigenpair, stir
from sweep.model import Architecture, Inputs, Slope

BASIS = 32  # vectors before a restart
_RESTARTS = 12
_FIRST_LOOK = 6  # no residual is believed before


def top_eigenpair(
    architecture: Architecture,
    theta: Tensor,
    x: Inputs,
    y: Tensor,
    slope: Slope,
    *,
    exact: bool,
    start: Tensor | None = None,
    tolerance: float = 1e-6,
) -> Eigenpair:
    """Find the top eigenpair of the Hessian, or of Gauss–Newton if not `exact`, of every network.

    Args:
        architecture: Of all networks.
        theta: Weights (B, p), float64 as everything else.
        x: Inputs with the column of ones, (n, i) or (B, n, i).
        y: Targets (B, n).
        slope: Of the negative side, (B, 1, 1).
        exact: Whether the residual term counts.
        start: Where to begin, (B, p); the mean gradient if not given.
        tolerance: Wanted residual, relative to the eigenvalue.
    """
    order = architecture.by_feature
    vector = torch.empty_like(theta) if start is None else start[:, order]
    value, residual = torch.empty_like(theta[:, 0]), torch.empty_like(theta[:, 0])
    _top_eigenpairs(
        *arrays(architecture, theta, x, y, slope), stir(theta)[order].numpy(), exact, tolerance, start is not None,
        value.numpy(), vector.numpy(), residual.numpy(),
    )  # fmt: skip
    return Eigenpair(value, vector[:, torch.argsort(order)], residual)


@compiled
def prepare(axes, weights, x, y, slope, bias, gains, hidden, coupling, ascent):
    """Fill a_i σ'_ij and h_ij, both (n, k), the rows m_q one after the other, and the mean of ∇f (p,)."""
    n, k = gains.shape
    end = len(axes) * k
    a, mean = weights[end : end + k], ascent[end : end + k]
    c = weights[end + k] if bias else 0.0
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
def _product(axes, v, x, gains, hidden, coupling, bias, image):
    """Write (1/n) JᵀJ v, and the residual term if `coupling` is not empty, to `image`."""
    n, k = gains.shape
    end = len(axes) * k
    output, image_output = v[end : end + k], image[end : end + k]  # known not to overlap the other rows
    image[:] = 0.0
    for j in range(n):
        gain, h = gains[j], hidden[j]
        s = v[end + k] if bias else 0.0
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
        if bias:
            image[end + k] += s
    if len(coupling):
        for i in range(k):
            for q in range(len(axes)):
                image[q * k + i] += output[i] * coupling[q * k + i]
                image_output[i] += v[q * k + i] * coupling[q * k + i]


@compiled
def _dot(u, v):
    total = 0.0
    for i in range(len(u)):
        total += u[i] * v[i]
    return total


@compiled
def _assign(u, start, factor, v):
    """U ← start · u + factor · v."""
    for i in range(len(u)):
        u[i] = (start * u[i] if start else 0.0) + factor * v[i]


@inlined
def _krylov(axes, x, gains, hidden, coupling, bias, basis, projected, vector, image, tolerance):
    """Replace the unit `vector` by the best of its Krylov space; returns its value, and its residual."""
    size = min(len(projected), len(vector))
    scale, value, residual = 1e-300, 0.0, np.inf
    _assign(basis[0], 0.0, 1.0, vector)
    for j in range(size):
        _product(axes, basis[j], x, gains, hidden, coupling, bias, image)
        projected[j, j] = _dot(basis[j], image)
        for _ in range(2):  # twice is enough (Parlett 1998, §6.9)
            for known in range(j, -1, -1):
                _assign(image, 1.0, -_dot(basis[known], image), basis[known])
        length = np.sqrt(_dot(image, image))
        if not length < np.inf:
            return np.nan, np.nan
        scale = max(scale, abs(projected[j, j]), length)
        last = j + 1 == size or length <= 1e-14 * scale  # an invariant subspace: the length is rounding
        if last or (j + 1 >= _FIRST_LOOK and j % 2):
            values, vectors = np.linalg.eigh(projected[: j + 1, : j + 1].copy())  # reads the lower triangle
            value, residual = values[j], length * abs(vectors[j, j])
            if last or residual <= tolerance * abs(value) + 1e-12:
                for known in range(j + 1):
                    _assign(vector, 1.0 if known else 0.0, vectors[known, j], basis[known])
                _assign(vector, 0.0, 1 / np.sqrt(_dot(vector, vector)), vector)
                break
        projected[j + 1, j] = length
        _assign(basis[j + 1], 0.0, 1 / length, image)
    return value, residual


@compiled
def search(axes, x, gains, hidden, coupling, bias, basis, projected, stir, vector, image, tolerance):
    """Replace the start in `vector` by the top eigenvector; returns its value, and the residual where it stopped."""
    _assign(vector, 1 / max(np.sqrt(_dot(vector, vector)), 1e-300), 1.0, stir)
    _assign(vector, 0.0, 1 / np.sqrt(_dot(vector, vector)), vector)
    top, error = 0.0, np.inf
    for _ in range(_RESTARTS):
        top, error = _krylov(axes, x, gains, hidden, coupling, bias, basis, projected, vector, image, tolerance)
        if not error > tolerance * abs(top) + 1e-12:
            break
    return top, error


@compiled
def _top_eigenpairs(axes, theta, x, y, slopes, bias, stir, exact, tolerance, given, value, vector, residual):
    """Fill value (B,), vector (B, p) and residual (B,) of the Hessian, or of Gauss–Newton if not `exact`.

    The first arguments are those of `shallow.arrays`; `stir` (p,) is added to every unit start; `given` says to start
    from what is in `vector`, and not from the mean gradient.
    """
    (count, p), n = theta.shape, x.shape[1]
    k = (p - bias) // (len(axes) + 1)
    gains, hidden, coupling = np.empty((n, k)), np.empty((n, k)), np.empty(len(axes) * k)
    basis, projected = np.empty((BASIS + 1, p)), np.zeros((BASIS, BASIS))
    current, image = np.empty(p), np.empty(p)
    for b in range(count):
        inputs = x[b if len(x) > 1 else 0]
        prepare(axes, theta[b], inputs, y[b], slopes[b], bias, gains, hidden, coupling, current)
        if given:
            _assign(current, 0.0, 1.0, vector[b])
        term = coupling if exact else coupling[:0]
        top, _ = search(axes, inputs, gains, hidden, term, bias, basis, projected, stir, current, image, tolerance)
        _product(axes, current, inputs, gains, hidden, term, bias, image)
        _assign(image, 1.0, -top, current)
        value[b], residual[b] = top, np.sqrt(_dot(image, image))
        _assign(vector[b], 0.0, 1.0, current)
