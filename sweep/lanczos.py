"""Lanczos' method for the top eigenpairs of many symmetric matrices at once, each known by its products alone."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Product = Callable[[Float[Tensor, "B p"]], Float[Tensor, "B p"]]

DENSE = 32  # matrices up to this size are formed and diagonalised
_BASIS = 32  # vectors before a restart
_RESTARTS = 12
_LOOKS = set(range(6, _BASIS, 2))  # steps after which the residual is looked at: a look waits for the device
_PERTURBATION = 1e-4  # share of a fixed random direction in every start


class Eigenpair(NamedTuple):
    """What is found of B matrices: an eigenvalue and its vector, which are best the top ones."""

    value: Tensor  # λ (B,)
    vector: Tensor  # unit v (B, p)
    residual: Tensor  # ‖Av - λv‖ (B,): some eigenvalue lies as near to λ
    rest: Tensor  # bound (B,): at most one eigenvalue is larger, so that λ - residual > rest is the top; ∞ if unknown


def top_eigenpair(
    product: Product,
    start: Float[Tensor, "B p"],
    *,
    tolerance: float = 1e-6,
    trace: Float[Tensor, " B"] | None = None,
) -> Eigenpair:
    """Find the algebraically largest eigenvalue of B symmetric matrices.

    Full reorthogonalisation, restarted from the best vector. Some eigenvalue lies within the residual of the value, and
    about its square over the spectral gap away. That it is the top one is likely: a small fixed random direction
    perturbs the start, since one that is an eigenvector of another eigenvalue would never leave it, and no residual is
    believed before six steps. It is proved if `rest` says so.

    Args:
        product: v ↦ A v, row by row.
        start: Where to begin; may be zero.
        tolerance: Wanted residual, relative to the eigenvalue. After 384 products the best pair found is returned, and
            its residual says how good it is.
        trace: Of matrices that are positive semidefinite: less all Ritz values but the second, it bounds the rest.
    """
    count = start.shape[1]
    if count <= DENSE:
        return _dense(product, start)
    vector = torch.nn.functional.normalize(torch.nn.functional.normalize(start, dim=1) + perturbation(start), dim=1)
    unknown = torch.full_like(vector[:, 0], torch.inf)
    pair = Eigenpair(torch.zeros_like(unknown), vector, unknown, unknown)
    for _ in range(_RESTARTS):
        pair = _krylov(product, pair, min(_BASIS, count), tolerance, unknown if trace is None else trace)
        if bool(_good(pair, tolerance).all()):
            break
    image = product(pair.vector)
    return pair._replace(residual=torch.linalg.vector_norm(image - pair.value[:, None] * pair.vector, dim=1))


def perturbation(vectors: Float[Tensor, "B p"]) -> Float[Tensor, " p"]:
    """Return what is added to every unit start: the same for every run, in every pack."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(vectors.shape[1], generator=generator, dtype=torch.float64)
    return _PERTURBATION * torch.nn.functional.normalize(direction, dim=0).to(vectors)


def eigh(matrices: Float[Tensor, "B m m"]) -> tuple[Float[Tensor, "B m"], Float[Tensor, "B m m"]]:
    """Diagonalise symmetric matrices; where one is not finite its eigenvalues are NaN, and the others stay known."""
    finite = matrices.isfinite().all((1, 2))
    values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], matrices, 0))
    return torch.where(finite[:, None], values, torch.nan), vectors


def eigenvalues(matrices: Float[Tensor, "B m m"]) -> Float[Tensor, "B m"]:
    """Compute what `eigh` does, without vectors."""
    finite = matrices.isfinite().all((1, 2))
    values = torch.linalg.eigvalsh(torch.where(finite[:, None, None], matrices, 0))
    return torch.where(finite[:, None], values, torch.nan)


def _good(pair: Eigenpair, tolerance: float) -> Bool[Tensor, " B"]:
    return ~(pair.residual > tolerance * pair.value.abs() + 1e-12)  # a NaN gets no better


def _dense(product: Product, start: Tensor) -> Eigenpair:
    unit = torch.eye(start.shape[1], dtype=start.dtype, device=start.device)
    matrix = torch.stack([product(e.expand_as(start)) for e in unit], -1)
    values, vectors = eigh((matrix + matrix.mT) / 2)
    value, vector = values[:, -1], vectors[..., -1]
    residual = torch.linalg.vector_norm((matrix @ vector[..., None])[..., 0] - value[:, None] * vector, dim=1)
    rest = values[:, -2] if values.shape[1] > 1 else torch.full_like(value, -torch.inf)
    return Eigenpair(value, vector, residual, rest)


def _krylov(product: Product, pair: Eigenpair, size: int, tolerance: float, trace: Float[Tensor, " B"]) -> Eigenpair:
    """Improve the pairs that are not good yet; a good one stays as it was found, whatever the others still need."""
    vector = pair.vector
    basis = vector.new_empty(len(vector), size + 1, vector.shape[1])  # touched as far as it is used
    projected = vector.new_zeros(len(vector), size + 1, size + 1)  # A in the basis: symmetric tridiagonal
    basis[:, 0] = vector
    for j in range(size):
        image = product(basis[:, j])
        projected[:, j, j] = (basis[:, j] * image).sum(1)
        known = basis[:, : j + 1]
        for _ in range(2):  # twice is enough (Parlett 1998, §6.9)
            image = torch.baddbmm(image[:, None], torch.bmm(image[:, None], known.mT), known, alpha=-1)[:, 0]
        length = torch.linalg.vector_norm(image, dim=1)
        projected[:, j, j + 1] = projected[:, j + 1, j] = length
        # an invariant subspace has been found where the length is rounding; a zero vector then adds nothing
        exhausted = length <= 1e-14 * projected[:, : j + 1, : j + 1].abs().amax((1, 2)).clamp(min=1e-300)
        basis[:, j + 1] = torch.where(exhausted, 0, 1 / length)[:, None] * image
        if j + 1 in _LOOKS or j + 1 == size:
            values, vectors = eigh(projected[:, : j + 1, : j + 1])
            weights = vectors[..., -1]
            residual = length * weights[:, -1].abs()
            ritz = torch.bmm(weights[:, None], known)[:, 0]
            unseen = trace - values.sum(1) + values[:, -2]
            found = Eigenpair(values[:, -1], torch.nn.functional.normalize(ritz, dim=1), residual, unseen)
            good = _good(pair, tolerance)
            pair = Eigenpair(*(
                torch.where(good if old.ndim == 1 else good[:, None], old, new)
                for old, new in zip(pair, found, strict=True)
            ))  # fmt: skip
            if bool(_good(pair, tolerance).all()):
                break
    return pair
