"""Derivatives of networks by their parameters: Jacobian, Gram matrix, products with Gauss–Newton and the Hessian.

The gradient of a network's output with respect to the rows [w_i, b_i] of a layer is δ_i(x) h̃(x): its sensitivity to the
pre-activation, times the layer's input with a one appended. These factors give the Jacobian J (n, p), the Gram matrix
(1/n) J Jᵀ and the mean gradient, for either depth.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.point import Point

Factors = list[tuple[Float[Tensor, "B _ n"], Float[Tensor, "B _ n"]]]
Product = Callable[[Float[Tensor, "B p"]], Float[Tensor, "B p"]]


def factors(point: Point, derivatives: list[Float[Tensor, "B _ n"]]) -> Factors:
    """Return (δ, h̃) of each layer, first to last; the activation mode is in `derivatives`."""
    layers, deltas = point.architecture.split(point.theta), [torch.ones_like(point.y)[:, None, :]]
    for rows, derivative in zip(layers[:0:-1], derivatives[::-1], strict=True):
        deltas.append(_through(rows[..., : derivative.shape[1]], deltas[-1]) * derivative)
    return list(zip(deltas[::-1], point.inputs_of_layers, strict=True))


def _through(weights: Float[Tensor, "B q i"], delta: Float[Tensor, "B q n"]) -> Float[Tensor, "B i n"]:
    """Compute Wᵀ δ; with one output a plain product, which is several times as fast."""
    return weights.mT * delta if weights.shape[1] == 1 else torch.bmm(weights.mT, delta)


def gram(point: Point, derivatives: list[Float[Tensor, "B _ n"]]) -> Float[Tensor, "B n n"]:
    """Compute (1/n) J Jᵀ = (1/n) Σ_layers (δᵀδ) ∘ (h̃ᵀh̃); it has the nonzero eigenvalues of Gauss–Newton (1/n) JᵀJ."""
    total = point.theta.new_zeros(len(point.theta), point.n, point.n)
    for index, (delta, h) in enumerate(factors(point, derivatives)):
        inner = point.x @ point.x.mT if index == 0 else torch.bmm(h.mT, h)
        total += torch.bmm(delta.mT, delta) * inner
    return total / point.n


def jacobian(point: Point) -> Float[Tensor, "B n p"]:
    """Compute ∇f(x_j), all p numbers of it."""
    blocks = [torch.einsum("bqn,bin->bnqi", delta, h).flatten(2) for delta, h in factors(point, point.derivatives)]
    return torch.cat(blocks, 2)


def pull(point: Point, weights: Float[Tensor, "B n"]) -> Float[Tensor, "B p"]:
    """Compute Jᵀ weights, without forming J."""
    blocks = [torch.bmm(delta * weights[:, None], h.mT).flatten(1) for delta, h in factors(point, point.derivatives)]
    return torch.cat(blocks, 1)


def gauss_newton_product(point: Point) -> Product:
    """Return v ↦ (1/n) JᵀJ v, without forming J."""
    return lambda v: pull(point, push(point, v)[0] / point.n)


def gauss_newton_trace(point: Point) -> Float[Tensor, " B"]:
    """Compute tr (1/n) JᵀJ = (1/n) Σ_j ‖∇f(x_j)‖²."""
    squares = [delta.square().sum(1) * h.square().sum(1) for delta, h in factors(point, point.derivatives)]
    return torch.stack(squares).sum((0, 2)) / point.n


def push(point: Point, v: Float[Tensor, "B p"]) -> tuple[Float[Tensor, "B n"], list[Float[Tensor, "B _ n"]]]:
    """Differentiate along v: the change J v of the outputs, and those of the hidden activations on the way."""
    layers, directions = point.architecture.split(point.theta), point.architecture.split(v)
    z_dot, h_dots = torch.matmul(directions[0], point.x.mT), []
    for rows, direction, h, derivative in zip(
        layers[1:], directions[1:], point.inputs_of_layers[1:], point.derivatives, strict=True
    ):
        h_dots.append(z_dot.mul_(derivative))
        z_dot = torch.baddbmm(torch.bmm(direction, h), rows[..., : z_dot.shape[1]], z_dot)
    return z_dot[:, 0], h_dots


def hessian_product(point: Point) -> Product:
    """Return v ↦ ∇²L v, residual term included: the gradient differentiated by hand along v [Pearlmutter 1994].

    σ'' = 0 off the kinks. With δ the sensitivities of the loss, h̃ the inputs of the layers and a dot for what changes
    along v, δ̇ = (Vᵀδ + Wᵀδ̇) σ' from the last layer to the first; the product's rows are δ̇ h̃ᵀ + δ ḣᵀ.
    """
    hidden = list(zip(point.architecture.split(point.theta)[1:], point.after, point.derivatives, strict=True))
    deltas = [(point.residual / point.n)[:, None, :]]  # of the layers above each hidden one
    for rows, h, derivative in hidden[:0:-1]:
        deltas.insert(0, _through(rows[..., : h.shape[1]], deltas[0]) * derivative)

    def product(v: Tensor) -> Tensor:
        change, h_dots = push(point, v)
        delta_dot, blocks = (change / point.n)[:, None, :], []
        directions, inputs = point.architecture.split(v), point.inputs_of_layers
        for index in range(len(hidden), 0, -1):
            (rows, h, derivative), delta = hidden[index - 1], deltas[index - 1]
            units = h.shape[1]
            block = torch.bmm(delta_dot, inputs[index].mT)
            block[..., :units] += torch.bmm(delta, h_dots[index - 1].mT)
            blocks.append(block.flatten(1))
            both = torch.cat([directions[index][..., :units], rows[..., :units]], 1)
            delta_dot = torch.bmm(both.mT, torch.cat([delta, delta_dot], 1)).mul_(derivative)
        blocks.append(torch.matmul(delta_dot, point.x).flatten(1))
        return torch.cat(blocks[::-1], 1)

    return product
