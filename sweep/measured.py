"""Measured: trained networks as a measure of the user's own sees them, a batch at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.derivatives import gauss_newton_product, hessian_product, jacobian
from relusweep.sweep.model import initial_parameters
from relusweep.sweep.point import Point
from relusweep.sweep.run import Run


@dataclass(frozen=True, eq=False)
class Measured:
    """B networks of one architecture at the end of their training. All tensors are float64.

    A measure is a function of this that returns a number for each network (B,), or k numbers each (B, k). Each network
    is to be measured by itself: which others come in one batch is chance.

    Attributes:
        runs: The parameters of each network's training.
        point: What relusweep's own measures take; of no use to others, and subject to change.
    """

    runs: Sequence[Run]
    point: Point

    @property
    def parameters(self) -> Float[Tensor, "B p"]:
        """All of them: layer after layer, of each the rows [w_i, b_i], or [w_i] where it has no biases."""
        return self.point.theta

    @cached_property
    def initial_parameters(self) -> Float[Tensor, "B p"]:
        """Those that the training began with."""
        rows = [torch.from_numpy(initial_parameters(run)) for run in self.runs]
        return torch.stack(rows).to(self.point.theta)

    @property
    def weights(self) -> dict[str, Tensor]:
        """By their names: w1 (B, units, d), b1 (B, units), w2, …; of the output w (B, units) and b (B,)."""
        return self.point.architecture.named(self.parameters)

    @property
    def initial_weights(self) -> dict[str, Tensor]:
        """The same, at the beginning."""
        return self.point.architecture.named(self.initial_parameters)

    @property
    def x(self) -> Float[Tensor, "B n d"]:
        """Training inputs."""
        return self.point.x[..., : self.runs[0].d].expand(len(self.runs), -1, -1)

    @property
    def y(self) -> Float[Tensor, "B n"]:
        """Training targets, with the noise that the training saw."""
        return self.point.y

    @property
    def residuals(self) -> Float[Tensor, "B n"]:
        """f(x_j) - y_j."""
        return self.point.residual

    @property
    def pre_activations(self) -> list[Float[Tensor, "B _ n"]]:
        """Of each hidden layer w_i·h + b_i, unit by unit and input by input; a unit is active where it is above 0."""
        return self.point.before

    def jacobian(self) -> Float[Tensor, "B n p"]:
        """Compute ∇f(x_j), of all parameters; B·n·p numbers."""
        return jacobian(self.point)

    def gauss_newton_product(self, v: Float[Tensor, "B p"]) -> Float[Tensor, "B p"]:
        """Compute (1/n) JᵀJ v."""
        return gauss_newton_product(self.point)(v)

    def hessian_product(self, v: Float[Tensor, "B p"]) -> Float[Tensor, "B p"]:
        """Compute ∇²L v, of the loss L = (1/2n) Σ r_j², with σ'(0) = 0."""
        return self._hessian(v)

    @cached_property
    def _hessian(self):
        return hessian_product(self.point)
