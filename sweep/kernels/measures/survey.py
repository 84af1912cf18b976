"""Survey: what one pass over the samples shows of networks.

Equal to the functions of `sweep.measure` that bear the same names, which say what each number is.
"""

from typing import NamedTuple

from torch import Tensor


class Survey(NamedTuple):
    """Numbers of every network, each (B,); those from `stability_norm` on are NaN for deep ones."""

    finite: Tensor  # 1 where all outputs are
    loss: Tensor
    largest_residual: Tensor
    mean_gradient_bound: Tensor
    parameter_norm: Tensor
    dead_fraction: Tensor
    stability_norm: Tensor
    oriented_stability_norm: Tensor
    variation_norm: Tensor
    residual_correction: Tensor
