"""Point: networks at a point of their training, with what their measures share. Always in float64."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from relusweep.sweep.kernels.measures.networks import Networks
from relusweep.sweep.kernels.measures.programs import Programs, choose
from relusweep.sweep.kernels.measures.survey import Survey
from relusweep.sweep.model import Architecture, Inputs, Slope, forward


@dataclass(frozen=True)
class Point:
    """B networks with their training data: theta (B, p), x (n, i) or (B, n, i), y (B, n), all float64."""

    architecture: Architecture
    theta: Float[Tensor, "B p"]
    x: Inputs
    y: Float[Tensor, "B n"]
    slope: Slope

    @cached_property
    def _forward(self) -> tuple[list[Tensor], list[Tensor], Tensor]:
        return forward(self.architecture, self.theta, self.x, self.slope)

    @property
    def n(self) -> int:
        """Training samples."""
        return self.y.shape[1]

    @property
    def before(self) -> list[Float[Tensor, "B _ n"]]:
        """Pre-activations of the hidden layers."""
        return self._forward[0]

    @property
    def after(self) -> list[Float[Tensor, "B _ n"]]:
        """Activations of the hidden layers."""
        return self._forward[1]

    @cached_property
    def inputs_of_layers(self) -> list[Float[Tensor, "B _ n"]]:
        """What each layer's rows multiply: x, then the activations, with a row of ones where it has biases."""
        ones, biases = torch.ones_like(self.y)[:, None, :], self.architecture.biases[1:]
        above = (torch.cat([h, ones], 1) if bias else h for h, bias in zip(self.after, biases, strict=True))
        return [self.x.mT.expand(len(self.theta), -1, -1), *above]

    @property
    def networks(self) -> Networks:
        """All of it, as compiled measures take it."""
        return Networks(self.architecture, self.theta, self.x, self.y, self.slope)

    @property
    def programs(self) -> Programs | None:
        """What measures these networks on the CPU; None on other devices, where tensors do."""
        return choose(self.networks)

    @cached_property
    def survey(self) -> Survey | None:
        """What one pass of such a program over the samples shows."""
        return self.programs.survey(self.networks) if self.programs else None

    @property
    def finite(self) -> Bool[Tensor, " B"]:
        """Whether all outputs are finite."""
        return self.survey.finite > 0 if self.survey else torch.isfinite(self.residual).all(1)

    @property
    def residual(self) -> Float[Tensor, "B n"]:
        """f(x_j) - y_j."""
        return self._forward[2] - self.y

    @cached_property
    def derivatives(self) -> list[Float[Tensor, "B _ n"]]:
        """σ'(z) of the hidden layers, with σ'(0) the slope of the negative side: the recorded activation mode."""
        return [self.derivative(z > 0) for z in self.before]

    def derivative(self, active: Bool[Tensor, "B q n"]) -> Float[Tensor, "B q n"]:
        """Return σ' where `active`, and the slope of the negative side elsewhere."""
        negative = torch.zeros((), dtype=self.theta.dtype, device=self.theta.device)
        return torch.where(active, torch.ones_like(negative), negative if self.slope is None else self.slope)

    def rows(self, which: slice | Tensor) -> "Point":
        """Select networks."""
        x = self.x if self.x.ndim == 2 else self.x[which]
        slope = None if self.slope is None else self.slope[which]
        return Point(self.architecture, self.theta[which], x, self.y[which], slope)
