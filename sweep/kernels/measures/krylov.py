"""Lanczos' method on the CPU for one network at a time, whose vectors stay in the core's cache.

A kind of network brings the product of its matrix with a vector; method and checks are those of `sweep.lanczos`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload

from relusweep.sweep.kernels.jit.compiled import OPTIONS, compiled, inlined

BASIS = 32  # vectors before a restart
_RESTARTS = 12
_FIRST_LOOK = 6  # no residual is believed before


def product(network: Any, v: Any, image: Any) -> None:
    """Write the product of the network's matrix with v to `image`: of each kind of network its own."""
    raise NotImplementedError


def has_product(kind: type, own: Callable[[Any, Any, Any], None]) -> None:
    """Make the compiler take the product of a kind of network for `product`."""
    options: Any = OPTIONS

    @overload(product, jit_options=options, strict=False)
    def choose(network: Any, v: Any, image: Any) -> Any:
        return own if getattr(network, "instance_class", None) is kind else None


@compiled
def dot(u, v):
    """Σ u_i v_i."""
    total = 0.0
    for i in range(len(u)):
        total += u[i] * v[i]
    return total


@compiled
def assign(u, start, factor, v):
    """U ← start · u + factor · v."""
    for i in range(len(u)):
        u[i] = (start * u[i] if start else 0.0) + factor * v[i]


@inlined
def _krylov(network, basis, projected, vector, image, tolerance):
    """Replace the unit `vector` by the best of its Krylov space; return its value, its residual, and what was seen.

    That is the sum of all Ritz values but the second: less than the trace of a positive semidefinite matrix by no less
    than the second eigenvalue.
    """
    size = min(len(projected), len(vector))
    scale, value, residual, seen = 1e-300, 0.0, np.inf, 0.0
    assign(basis[0], 0.0, 1.0, vector)
    for j in range(size):
        product(network, basis[j], image)
        projected[j, j] = dot(basis[j], image)
        for _ in range(2):  # twice is enough (Parlett 1998, §6.9)
            for known in range(j, -1, -1):
                assign(image, 1.0, -dot(basis[known], image), basis[known])
        length = np.sqrt(dot(image, image))
        if not length < np.inf:
            return np.nan, np.nan, np.nan
        scale = max(scale, abs(projected[j, j]), length)
        last = j + 1 == size or length <= 1e-14 * scale  # an invariant subspace: the length is rounding
        if last or (j + 1 >= _FIRST_LOOK and j % 2):
            values, vectors = np.linalg.eigh(projected[: j + 1, : j + 1].copy())  # reads the lower triangle
            value, residual = values[j], length * abs(vectors[j, j])
            seen = values.sum() - (values[j - 1] if j else 0.0)
            if last or residual <= tolerance * abs(value) + 1e-12:
                for known in range(j + 1):
                    assign(vector, 1.0 if known else 0.0, vectors[known, j], basis[known])
                assign(vector, 0.0, 1 / np.sqrt(dot(vector, vector)), vector)
                break
        projected[j + 1, j] = length
        assign(basis[j + 1], 0.0, 1 / length, image)
    return value, residual, seen


@compiled
def search(network, basis, projected, perturbation, vector, image, tolerance):
    """Replace the start in `vector` by the top eigenvector; return its value, residual, and what was seen last."""
    assign(vector, 1 / max(np.sqrt(dot(vector, vector)), 1e-300), 1.0, perturbation)
    assign(vector, 0.0, 1 / np.sqrt(dot(vector, vector)), vector)
    top, error, seen = 0.0, np.inf, 0.0
    for _ in range(_RESTARTS):
        top, error, seen = _krylov(network, basis, projected, vector, image, tolerance)
        if not error > tolerance * abs(top) + 1e-12:
            break
    return top, error, seen


@compiled
def improve(network, basis, projected, perturbation, vector, image, tolerance):
    """Replace the start in `vector` by the top eigenvector; return its value, the true residual, what was seen."""
    top, _, seen = search(network, basis, projected, perturbation, vector, image, tolerance)
    product(network, vector, image)
    assign(image, 1.0, -top, vector)
    return top, np.sqrt(dot(image, image)), seen
