"""Several of the largest eigenvalues of one network's matrix at a time, from one Krylov space that is never restarted.

What the space has not seen is bounded by sums over all eigenvalues λ of the matrix, each Ritz value θ being at most as
large as the eigenvalue of its rank, counted from the top above zero and from the bottom below (Cauchy):

    λ_{k+1}²  ≤  Σ λ² - Σ_{i ≠ k+1} θ_i²             λ_{k+1}  ≤  Σ_{λ > 0} λ - Σ_{i ≠ k+1, θ_i > 0} θ_i

The first sum is the square of the Frobenius norm. The second is the trace of G ⪰ 0, and of G + R with tr R = 0 at most
that and the sum of R's positive eigenvalues, since adding G raises those below zero. [derived here]
"""

import numpy as np

from relusweep.sweep.kernels.jit.compiled import compiled
from relusweep.sweep.kernels.measures.krylov import assign, dot, product

SPACE = 48  # vectors
MOST_SAMPLES = 512  # whose Gram matrix is looked at: its cost grows with their square
_FIRST_LOOK = 8  # further vectors than values wanted before the first look
_EVERY = 4
_ROUNDING = 1e-13  # of a sum: what is left of it when nearly all has been taken off
_SWEEPS = 60  # of the QL algorithm for an eigenvalue; two or three are common


@compiled
def several(network, basis, start, image, tolerance, sums, values, residuals):
    """Fill the largest eigenvalues, from the largest on, and their residuals: infinite where nothing was found.

    Args:
        network: Whose matrix it is.
        basis: Room for vectors, (m + 1, p).
        start: The direction to begin with; not an eigenvector, or it alone is found.
        image: Room for a vector.
        tolerance: Wanted residual, relative to the eigenvalue.
        sums: Of all eigenvalues above zero, and of the squares of all: bounds, or infinite.
        values: What is filled, (k,).
        residuals: What is filled, (k,).

    Returns:
        A bound: no more than k eigenvalues are larger.
    """
    count, size, rest = len(values), min(len(basis) - 1, len(start)), np.inf
    diagonal, beside = np.zeros(size), np.zeros(size)
    ritz, work, last = np.empty(size), np.empty(size), np.empty(size)
    scale = 1e-300
    values[:], residuals[:] = np.nan, np.inf
    assign(basis[0], 0.0, 1 / np.sqrt(dot(start, start)), start)
    for j in range(size):
        product(network, basis[j], image)
        diagonal[j] = dot(basis[j], image)
        for _ in range(2):  # twice is enough (Parlett 1998, §6.9)
            for known in range(j, -1, -1):
                assign(image, 1.0, -dot(basis[known], image), basis[known])
        length = np.sqrt(dot(image, image))
        if not length < np.inf:
            values[:], residuals[:] = np.nan, np.inf
            return np.inf
        scale = max(scale, abs(diagonal[j]), length)
        exhausted = j + 1 == size or length <= 1e-14 * scale
        if exhausted or (j + 1 >= count + _FIRST_LOOK and (j + 1 - count) % _EVERY == 0):
            ritz[: j + 1], work[: j + 1], last[: j + 1] = diagonal[: j + 1], beside[: j + 1], 0.0
            last[j] = 1.0
            _diagonalise(ritz[: j + 1], work[: j + 1], last[: j + 1])
            order, good, error = np.argsort(-ritz[: j + 1]), True, 0.0
            above_zero, squares = sums
            for rank in range(j + 1):
                value = ritz[order[rank]]
                if rank < count:
                    values[rank], residuals[rank] = value, length * abs(last[order[rank]])
                    good &= residuals[rank] <= tolerance * abs(value) + 1e-12
                    error += residuals[rank] ** 2
                if rank != count:
                    above_zero -= max(value, 0.0)
                    squares -= value**2
            rest = min(above_zero + _ROUNDING * sums[0], np.sqrt(max(squares, 0.0) + _ROUNDING * sums[1]))
            if j + 1 == len(start):  # all that there is
                rest = min(rest, ritz[order[count]] if count <= j else -np.inf)
            if exhausted or (good and values[-1] - np.sqrt(error) > rest):
                break
        beside[j] = length
        assign(basis[j + 1], 0.0, 1 / length, image)
    return rest


@compiled
def _diagonalise(values, beside, last):
    """Turn the diagonal of a symmetric tridiagonal matrix into its eigenvalues, in any order.

    By the implicit QL algorithm (Dubrulle, Martin & Wilkinson 1968). `beside` has the numbers beside the diagonal, then
    one without meaning; both are lost. `last`, the last unit vector, becomes the last components of the eigenvectors.
    """
    size = len(values)
    for first in range(size):
        for _ in range(_SWEEPS):
            end = first
            while end < size - 1 and abs(beside[end]) > 1.2e-16 * (abs(values[end]) + abs(values[end + 1])):
                end += 1
            if end == first:
                break
            ahead = (values[first + 1] - values[first]) / (2 * beside[first])
            shift = beside[first] / (ahead + np.copysign(np.sqrt(ahead * ahead + 1), ahead))
            bulge, sine, cosine, moved = values[end] - values[first] + shift, 1.0, 1.0, 0.0
            for i in range(end - 1, first - 1, -1):
                across, along = sine * beside[i], cosine * beside[i]
                radius = np.sqrt(across * across + bulge * bulge)
                beside[i + 1] = radius
                sine, cosine = (across / radius, bulge / radius) if radius > 0.0 else (0.0, 1.0)
                corner = values[i + 1] - moved
                turned = (values[i] - corner) * sine + 2 * cosine * along
                moved = sine * turned
                values[i + 1] = corner + moved
                bulge = cosine * turned - along
                last[i + 1], last[i] = sine * last[i] + cosine * last[i + 1], cosine * last[i] - sine * last[i + 1]
            values[first] -= moved
            beside[first], beside[end] = bulge, 0.0
