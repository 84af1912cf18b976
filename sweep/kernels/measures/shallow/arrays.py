"""Shallow networks as the compiled measures take them: arrays."""

from typing import Any

import torch
from torch import Tensor

from relusweep.sweep.model import Architecture, Inputs, Slope

_MAX_FEATURES = 16  # loops over features are unrolled; with more of them, matrix products are faster


def supports(architecture: Architecture, x: Inputs) -> bool:
    """Tell whether these programs measure networks of this architecture on inputs x."""
    return len(architecture.sizes) == 3 and x.shape[-1] <= _MAX_FEATURES


def arrays(architecture: Architecture, theta: Tensor, x: Inputs, y: Tensor, slope: Slope) -> tuple[Any, ...]:
    """Give what every program begins with.

    Returns:
        axes: (0, …, i - 1); its length, the number of features, is a constant to the compiler.
        theta: Weights (B, p): k numbers for each feature, then a, then c; float64 as everything else.
        x: Inputs (1, n, i) of all or (B, n, i), with the column of ones.
        y: Targets (B, n).
        slopes: Of the negative side (B,).
        bias: Whether units have biases.
    """
    slopes = torch.zeros_like(theta[:, 0]) if slope is None else slope.flatten()
    tensors = (theta[:, architecture.by_feature], x[None] if x.ndim == 2 else x, y, slopes)
    axes = tuple(range(architecture.shapes[0][1]))
    return axes, *(tensor.contiguous().numpy() for tensor in tensors), architecture.bias
