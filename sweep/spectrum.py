"""Spectrum: eigenvalues of the exact Hessian beyond the largest, each exact or NaN where nothing proves it.

Of a Hessian of few parameters all eigenvalues can be computed. Lanczos finds a few of the largest, by a compiled
program at once, else one after the other, each among the vectors orthogonal to those before. That none was missed is
shown by sums over all eigenvalues (`kernels.measures.several`), or by counting.

With G = JᵀJ/n and R the residual term, the inertia of the matrix [[μ - R, Jᵀ/√n], [J/√n, 1]] is seen from either of its
corners (Haynsworth 1968), so that for μ > 0

    eigenvalues of R + G above μ   =  those of R above μ  +  eigenvalues of 1 - J (μ - R)⁻¹ Jᵀ/n, n×n, below 0
    eigenvalues of R + G below -μ  =  those of R below -μ  -  eigenvalues of 1 + J (μ + R)⁻¹ Jᵀ/n not above 0

With one hidden layer R couples a_i and w_i unit by unit, by m_i = (1/n) Σ_j r_j σ'_ij x̃_j: its eigenvalues are ±‖m_i‖,
and its inverse is known. [derived here]
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from relusweep.sweep.curvature import hessian, residual_term_bound
from relusweep.sweep.derivatives import Product, factors, gram, hessian_product
from relusweep.sweep.lanczos import eigenvalues, top_eigenpair
from relusweep.sweep.point import Point

FORMED = 512  # parameters; that many eigenvalues take some 20 ms
_FORMED_AT_LAST = 2048  # where nothing else proves them: a second a network
_COUNTED = 512  # samples
_AT_ONCE = 8  # eigenvalues
_TOLERANCE = 1e-6  # for a residual; errors are about its square over the gap to the next eigenvalue
_ROUNDING = 1e-10  # of an eigenvalue


def whole(point: Point) -> Float[Tensor, "B p"]:
    """Compute all eigenvalues, from the largest on; of a matrix that is not finite NaN."""
    return torch.cat([eigenvalues(hessian(point.rows(slice(b, b + 1)))).flip(1) for b in range(len(point.theta))])


def largest(point: Point, count: int) -> Float[Tensor, "B k"]:
    """Compute the largest eigenvalues, from the largest on; NaN beyond the p that there are, and where not proved."""
    size = point.architecture.count
    wanted = min(count, size)
    if point.programs and wanted <= _AT_ONCE:
        found, residual, rest = point.programs.largest_eigenvalues(point.networks, wanted, _TOLERANCE)
        if len(point.architecture.shapes) > 2:  # Weyl: an eigenvalue of G + R is that of G and ‖R‖ at most
            newton = point.programs.largest_eigenvalues(point.networks, wanted, _TOLERANCE, exact=False)
            rest = newton[2] + residual_term_bound(point, closely=True)
        proved = _converged(found, residual) & (found[:, -1] - residual.norm(dim=1) > rest * (1 + 1e-12))
        doubtful = torch.nonzero(~proved).flatten()
        if len(doubtful):
            proved[doubtful] = _counted(point.rows(doubtful), found[doubtful], residual[doubtful])
    elif size <= FORMED:
        return _padded(whole(point), count)
    else:
        found, proved = torch.empty_like(point.theta[:, :wanted]), torch.zeros_like(point.theta[:, 0], dtype=torch.bool)
    doubtful = torch.nonzero(~proved).flatten()
    if size > FORMED and len(doubtful):
        found[doubtful], proved[doubtful] = _one_by_one(point.rows(doubtful), wanted)
    return _settled(point, found, proved, count)


def _one_by_one(point: Point, count: int) -> tuple[Float[Tensor, "B k"], Bool[Tensor, " B"]]:
    """Find eigenvalues among the vectors orthogonal to those before; return them, and whether they are proved."""
    product, vectors, values = hessian_product(point), [], []
    found = torch.empty_like(point.theta[:, :count])
    residual = torch.empty_like(found)
    for k in range(count):
        pair = top_eigenpair(_without(product, vectors, values), torch.zeros_like(point.theta), tolerance=_TOLERANCE)
        vectors.append(pair.vector)
        values.append(pair.value)
        found[:, k], residual[:, k] = pair.value, pair.residual
    return found, _counted(point, found, residual)


def _converged(found: Float[Tensor, "B k"], residual: Float[Tensor, "B k"]) -> Bool[Tensor, " B"]:
    return (residual <= _TOLERANCE * found.abs() + 1e-12).all(1)


def _counted(point: Point, found: Float[Tensor, "B k"], residual: Float[Tensor, "B k"]) -> Bool[Tensor, " B"]:
    """Prove by counting that no larger eigenvalue than those found was missed."""
    error = residual.norm(dim=1)  # of all of them together: their vectors are orthogonal
    level = found[:, -1] + torch.maximum(error, _ROUNDING * found[:, 0].abs())
    return (
        _converged(found, residual)
        & (level > 0)
        & (above(point, level) == (found - error[:, None] > level[:, None]).sum(1))
    )


def least(point: Point) -> Float[Tensor, " B"]:
    """Compute the least eigenvalue; NaN where it is not proved."""
    if point.architecture.count <= FORMED:
        return whole(point)[:, -1]
    product = hessian_product(point)
    pair = top_eigenpair(lambda v: -product(v), torch.zeros_like(point.theta))
    scale = torch.linalg.vector_norm(product(torch.nn.functional.normalize(torch.ones_like(point.theta), dim=1)), dim=1)
    level = pair.value + torch.maximum(pair.residual, _ROUNDING * scale)
    proved = (level > 0) & (below(point, level) == 0)
    return -_settled(point, pair.value[:, None], proved, 1, least=True)[:, 0]


def _without(product: Product, vectors: list[Tensor], values: list[Tensor]) -> Product:
    """Return the product with a matrix in which eigenvalues λ > 0 that are known have become -λ."""

    def deflated(v: Tensor) -> Tensor:
        image = product(v)
        for vector, value in zip(vectors, values, strict=True):
            image = image - 2 * value.abs()[:, None] * (vector * v).sum(1, keepdim=True) * vector
        return image

    return deflated


def _padded(values: Float[Tensor, "B p"], count: int) -> Float[Tensor, "B c"]:
    return torch.nn.functional.pad(values[:, :count], (0, max(0, count - values.shape[1])), value=torch.nan)


def _settled(
    point: Point, found: Float[Tensor, "B k"], proved: Bool[Tensor, " B"], count: int, *, least: bool = False
) -> Float[Tensor, "B c"]:
    """Form the Hessians of which nothing is proved, where that can be done; else their eigenvalues are not known."""
    found[~proved] = torch.nan
    if point.architecture.count <= _FORMED_AT_LAST:
        for b in torch.nonzero(~proved).flatten().tolist():
            values = whole(point.rows(slice(b, b + 1)))
            found[b] = -values[0, -1] if least else values[0, : found.shape[1]]
    return _padded(found, count)


# Counting ------------------------------------------------------------------------------------------------------------


def above(point: Point, level: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Count the eigenvalues of the Hessian above a positive level; -1 where that cannot be done."""
    if not _can_be_counted(point):
        return torch.full_like(level, -1, dtype=torch.int64)
    coupled, norms = _coupled(point, level, 1.0)
    unit = torch.eye(point.n, dtype=level.dtype, device=level.device)
    return (norms > level[:, None]).sum(1) + (eigenvalues(unit - coupled) < 0).sum(1)


def below(point: Point, level: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Count the eigenvalues of the Hessian below minus a positive level; -1 where that cannot be done."""
    if not _can_be_counted(point):
        return torch.full_like(level, -1, dtype=torch.int64)
    coupled, norms = _coupled(point, level, -1.0)
    unit = torch.eye(point.n, dtype=level.dtype, device=level.device)
    return (norms > level[:, None]).sum(1) - (eigenvalues(unit + coupled) <= 0).sum(1)


def _can_be_counted(point: Point) -> bool:
    return point.n <= _COUNTED and len(point.architecture.shapes) == 2


def _coupled(
    point: Point, level: Float[Tensor, " B"], sign: float
) -> tuple[Float[Tensor, "B n n"], Float[Tensor, "B q"]]:
    """Compute J (μ - sR)⁻¹ Jᵀ/n with s = ±1, and the norms ‖m_i‖ of the residual term R, unit by unit."""
    level = level.clamp(min=1e-150)[:, None, None]
    (delta, _), (_, h) = factors(point, point.derivatives)
    h = h[:, : delta.shape[1]]
    m = sign * torch.matmul(point.derivatives[0] * point.residual[:, None] / point.n, point.x)
    norms = torch.linalg.vector_norm(m, dim=-1)
    room = level.square() - norms.square()[..., None]
    room = torch.where(room.abs() < 1e-300, torch.full_like(room, 1e-300), room)
    moved = level * h + delta * torch.matmul(m, point.x.mT)
    whole = gram(point, point.derivatives) + (torch.bmm(moved.mT, moved / room) - torch.bmm(h.mT, h)) / point.n
    return whole / level, norms
