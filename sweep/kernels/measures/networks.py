"""Networks: what compiled measures take, at one point of the training. All in float64."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.model import Architecture, Inputs, Slope


class Biases(NamedTuple):
    """Which units have biases."""

    hidden: bool
    output: bool


class Networks(NamedTuple):
    """B networks of one architecture on n samples, in the order in which `sweep.model` takes them."""

    architecture: Architecture
    theta: Float[Tensor, "B p"]
    x: Inputs  # with the column of ones where hidden units have biases: (n, i), or (B, n, i)
    y: Float[Tensor, "B n"]
    slope: Slope  # of the negative side, (B, 1, 1); None is the ReLU

    @property
    def biases(self) -> Biases:
        """Which units have biases."""
        return Biases(self.architecture.bias, self.architecture.output_bias)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return weights (B, p), inputs (1, n, i) of all or (B, n, i), targets (B, n), slopes (B,)."""
        slopes = torch.zeros_like(self.theta[:, 0]) if self.slope is None else self.slope.flatten()
        x = self.x[None] if self.x.ndim == 2 else self.x
        theta, x, y, slopes = (tensor.contiguous().numpy() for tensor in (self.theta, x, self.y, slopes))
        return theta, x, y, slopes
