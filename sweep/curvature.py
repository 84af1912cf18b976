"""Curvature: the top eigenpairs of Gauss–Newton and of the exact Hessian, proved to be the top ones.

Lanczos finds an eigenpair and its residual; that no other eigenvalue is larger is a second question. Gauss–Newton G is
positive semidefinite, so that its trace bounds what the vectors of Lanczos have not seen: with Ritz values θ₁ ≥ θ₂ ≥ …,

    λ₂(G) ≤ tr G - Σ_{i ≠ 2} θ_i      (λ_i ≥ θ_i, Cauchy)          λ₂(G + R) ≤ λ₂(G) + ‖R‖      (Weyl)

An eigenvalue beyond that bound is the largest. R, the residual term, vanishes at interpolation, and this costs next to
nothing. Where it does not suffice, the inertia of an n×n matrix tells whether there is a larger one, and at last the
whole spectrum is computed. [M21] Mulayoff, Michaeli & Soudry, NeurIPS 2021.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from relusweep.sweep.derivatives import (
    Product,
    factors,
    gauss_newton_product,
    gauss_newton_trace,
    gram,
    hessian_product,
    jacobian,
    pull,
)
from relusweep.sweep.lanczos import Eigenpair, eigh, top_eigenpair
from relusweep.sweep.pack import FORMED
from relusweep.sweep.point import Point

_SPECTRUM = 512  # rows of the largest matrix whose whole spectrum is computed for a proof
_ROUNDING = 1e-10  # of an eigenvalue; what lies nearer counts as equal
_SEARCHES = 3  # for a larger eigenvalue than the one found
_COLUMNS_BYTES = 2**26  # what the products that form a Hessian may take at once


def gauss_newton_top(point: Point) -> Eigenpair:
    """Compute the top eigenpair of the Gauss–Newton matrix (1/n) JᵀJ, which is the Hessian at interpolation.

    By a compiled program on the CPU; else by the smaller of the n×n and the p×p matrix where it is small enough
    to be formed; else by products alone. Lanczos starts from the mean gradient, whose Rayleigh quotient is at least
    1 + 2S̃. A residual is infinite where no proof was found that the pair is the top one: of large networks alone.
    """
    return _proved(point, _newton_candidate(point), exact=False)


def hessian_top(point: Point, newton: Eigenpair | None = None) -> Eigenpair:
    """Compute the top eigenpair of the exact Hessian: its value is the sharpness.

    A twice-differentiable minimum is linearly stable under gd with step size lr iff sharpness ≤ 2/lr, and under sgd
    only if so [M21 Lemma 1]. `newton` is the top of Gauss–Newton, if it is known. A residual is infinite where no proof
    was found that the pair is the top one: of large networks alone.
    """
    newton = gauss_newton_top(point) if newton is None else newton
    if point.programs:
        pair = point.programs.top_eigenpair(point.networks, exact=True, start=newton.vector)
    else:
        pair = top_eigenpair(hessian_product(point), newton.vector)
    pair = pair._replace(rest=torch.minimum(pair.rest, newton.rest + residual_term_bound(point)))
    doubtful = _doubtful(pair)
    if len(doubtful):
        closer = newton.rest[doubtful] + residual_term_bound(point.rows(doubtful), closely=True)
        pair.rest[doubtful] = torch.minimum(pair.rest[doubtful], closer)
    return _proved(point, pair, exact=True)


def _newton_candidate(point: Point) -> Eigenpair:
    if point.programs:
        return point.programs.top_eigenpair(point.networks, exact=False, tolerance=1e-9)
    n, p = point.n, point.architecture.count
    ones = torch.ones_like(point.y)
    if p < n and p <= FORMED:
        j = jacobian(point)
        return _top_of(torch.bmm(j.mT, j) / n, pull(point, ones))
    if n <= FORMED:
        pair = _top_of(gram(point, point.derivatives), ones)
        return _of_samples(point, pair)
    return top_eigenpair(gauss_newton_product(point), pull(point, ones), trace=gauss_newton_trace(point))


def _top_of(matrix: Float[Tensor, "B m m"], start: Float[Tensor, "B m"]) -> Eigenpair:
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1)
    return top_eigenpair(lambda v: torch.bmm(matrix, v[..., None])[..., 0], start, tolerance=1e-9, trace=trace)


def _of_samples(point: Point, pair: Eigenpair) -> Eigenpair:
    """Turn an eigenpair of the Gram matrix into one of Gauss–Newton, whose further eigenvalues are zero."""
    vector = torch.nn.functional.normalize(pull(point, pair.vector), dim=1)
    return pair._replace(vector=vector, rest=pair.rest.clamp(min=0))


# The residual term ---------------------------------------------------------------------------------------------------


def residual_correction(point: Point) -> Float[Tensor, " B"]:
    """Compute √(1 + R²) mean |r_j| with R = max ‖x_j‖ (R alone without biases): how far from interpolation it is, in λ.

    Of shallow networks |λ_max(H) - λ_max(GN)| is at most this, so 1 + 2S̃ ≤ sharpness + residual_correction at any
    weights [derived here].
    """
    if point.survey:
        return point.survey.residual_correction
    return point.residual.abs().mean(1) * torch.linalg.vector_norm(point.x, dim=-1).amax(-1)


def residual_term_bound(point: Point, *, closely: bool = False) -> Float[Tensor, " B"]:
    """Bound ‖R‖ of the residual term R = H - G; of shallow networks it is found exactly if `closely`.

    R couples the weights of different layers alone. With one hidden layer, unit by unit, a_i and w_i by
    m_i = (1/n) Σ_j r_j σ'_ij x̃_j, so that ‖R‖ = max ‖m_i‖. With two, the norms of three blocks bound it: output and
    second layer, second and first (unit by unit of the first), output and first. `closely` sums over the samples before
    norms are taken, at the cost of a few products for each feature [derived here].
    """
    if len(point.architecture.shapes) == 2:
        if not closely:
            return residual_correction(point)
        m = torch.matmul(point.derivatives[0] * point.residual[:, None] / point.n, point.x)
        return torch.linalg.vector_norm(m, dim=-1).amax(-1)
    first, second = point.derivatives
    x, below, _ = point.inputs_of_layers
    _, rows, output = point.architecture.split(point.theta)
    weights, a = rows[..., : first.shape[1]], output[:, 0, : second.shape[1], None]
    share = point.residual[:, None] / point.n
    upper = torch.linalg.vector_norm(torch.bmm(share * second, below.mT), dim=-1).amax(-1)
    if closely:
        squares = sum(torch.bmm(share * second * feature[:, None], first.mT).square() for feature in x.unbind(1))
        lower = (a.square() * squares).sum(1).amax(-1).sqrt()
        across = (weights.square() * squares).sum((1, 2)).sqrt()
    else:
        reach = share.abs()[:, 0] * torch.linalg.vector_norm(x, dim=1)
        lower = (reach * torch.linalg.vector_norm(a * second, dim=1)).sum(1)
        through = second.square() * torch.bmm(weights.square(), first.square())
        across = (reach * through.sum(1).sqrt()).sum(1)
    return torch.stack([upper + lower, upper + across, lower + across]).amax(0)


# Proofs --------------------------------------------------------------------------------------------------------------


def _doubtful(pair: Eigenpair) -> Tensor:
    """Return the numbers of the networks whose value is not proved to be the largest eigenvalue."""
    proved: Bool[Tensor, " B"] = pair.value - pair.residual > pair.rest * (1 + 1e-12)
    return torch.nonzero(pair.value.isfinite() & ~proved).flatten()


def _proved(point: Point, pair: Eigenpair, *, exact: bool) -> Eigenpair:
    """Settle what is in doubt, of the Hessian or of Gauss–Newton if not `exact`."""
    doubtful = _doubtful(pair)
    if not len(doubtful):
        return pair
    level = _above(pair)
    doubtful = doubtful[~bounds_spectrum(point.rows(doubtful), level[doubtful], exact=exact)]
    for b in doubtful.tolist():
        one, found = point.rows(slice(b, b + 1)), Eigenpair(*(column[b : b + 1] for column in pair))
        top = _hessian_spectrum(one) if exact else _newton_spectrum(one)
        if top is None:
            found = _searched(one, found, exact=exact)
        else:
            found = top if top.value > level[b] else found._replace(rest=top.rest)
        for column, value in zip(pair, found, strict=True):
            column[b] = value[0]
    return pair


def bounds_spectrum(point: Point, level: Float[Tensor, " B"], *, exact: bool) -> Bool[Tensor, " B"]:
    """Prove that all eigenvalues of the Hessian, or of Gauss–Newton if not `exact`, are less than a positive level μ.

    They are iff μI - R and I - (1/n) J (μI - R)⁻¹ Jᵀ, n×n, are positive definite (additivity of the inertia, Haynsworth
    1968). With one hidden layer the inverse is known: unit by unit R couples a_i and w_i by m_i, see
    `residual_term_bound`. Nothing is proved of the Hessian of deeper networks, nor with more than 512 samples.
    """
    if point.n > _SPECTRUM or (exact and len(point.architecture.shapes) > 2):
        return torch.zeros_like(level, dtype=torch.bool)
    level = level.clamp(min=1e-150)[:, None, None]
    matrix = gram(point, point.derivatives)
    possible = torch.ones_like(level, dtype=torch.bool)
    if exact:
        (delta, _), (_, h) = factors(point, point.derivatives)
        h = h[:, : delta.shape[1]]
        m = torch.matmul(point.derivatives[0] * point.residual[:, None] / point.n, point.x)
        room = level.square() - m.square().sum(-1, keepdim=True)
        possible = (room > 0).all(1, keepdim=True)
        moved = (level * h + delta * torch.matmul(m, point.x.mT)) / room.clamp(min=1e-300).sqrt()
        matrix = matrix + (torch.bmm(moved.mT, moved) - torch.bmm(h.mT, h)) / point.n
    unit = torch.eye(point.n, dtype=level.dtype, device=level.device)
    return possible.flatten() & (torch.linalg.cholesky_ex(unit - matrix / level).info == 0)


def _newton_spectrum(one: Point) -> Eigenpair | None:
    if one.n <= min(_SPECTRUM, one.architecture.count):
        return _of_samples(one, _last(gram(one, one.derivatives)))
    if one.architecture.count <= _SPECTRUM:
        j = jacobian(one)
        return _last(torch.bmm(j.mT, j) / one.n)
    return None


def _hessian_spectrum(one: Point) -> Eigenpair | None:
    return None if one.architecture.count > _SPECTRUM else _last(hessian(one))


def hessian(one: Point) -> Float[Tensor, "1 p p"]:
    """Compute the exact Hessian of one network's loss."""
    count = one.architecture.count
    unit = torch.eye(count, dtype=one.theta.dtype, device=one.theta.device)
    size = max(1, _COLUMNS_BYTES // (96 * one.n * sum(one.architecture.sizes)))
    columns = []
    for some in unit.split(size):
        slope = None if one.slope is None else one.slope.expand(len(some), -1, -1)
        x = one.x if one.x.ndim == 2 else one.x.expand(len(some), -1, -1)
        copies = Point(one.architecture, one.theta.expand(len(some), -1), x, one.y.expand(len(some), -1), slope)
        columns.append(hessian_product(copies)(some))
    matrix = torch.cat(columns)[None]
    return (matrix + matrix.mT) / 2


def _last(matrix: Float[Tensor, "1 m m"]) -> Eigenpair:
    values, vectors = eigh(matrix)
    value, vector = values[:, -1], vectors[..., -1]
    residual = torch.linalg.vector_norm((matrix @ vector[..., None])[..., 0] - value[:, None] * vector, dim=1)
    rest = values[:, -2] if values.shape[1] > 1 else torch.full_like(value, -torch.inf)
    return Eigenpair(value, vector, residual, rest)


def _searched(one: Point, found: Eigenpair, *, exact: bool) -> Eigenpair:
    """Search for a larger eigenvalue than the one found, until none is left; of no proof the residual is infinite."""
    product = hessian_product(one) if exact else gauss_newton_product(one)
    for _ in range(_SEARCHES):
        other = _beside(found, product)
        if not other.value > _above(found):
            break
        found = other
        if bounds_spectrum(one, _above(found), exact=exact):
            return found
    return found._replace(rest=torch.full_like(found.value, torch.inf), residual=found.residual + torch.inf)


def _above(pair: Eigenpair) -> Float[Tensor, " B"]:
    """Return a level beyond which nothing is an eigenvalue if the pair is the top one; what lies nearer is equal."""
    return pair.value + torch.maximum(pair.residual, _ROUNDING * pair.value.abs())


def _beside(pair: Eigenpair, product: Product) -> Eigenpair:
    """Search among the vectors orthogonal to the pair's, from a random one."""

    def deflated(v: Tensor) -> Tensor:
        return product(v) - 2 * pair.value.abs() * (pair.vector * v).sum(1, keepdim=True) * pair.vector

    return top_eigenpair(deflated, torch.zeros_like(pair.vector))._replace(rest=torch.full_like(pair.value, torch.inf))
