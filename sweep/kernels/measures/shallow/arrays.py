"""Shallow networks as the compiled measures take them: arrays."""

from typing import Any

from relusweep.sweep.kernels.measures.networks import Networks

_MAX_FEATURES = 16  # loops over features are unrolled; with more of them, matrix products are faster


def supports(networks: Networks) -> bool:
    """Return whether these programs measure networks of this architecture on these inputs."""
    return len(networks.architecture.sizes) == 3 and networks.x.shape[-1] <= _MAX_FEATURES


def arrays(networks: Networks) -> tuple[Any, ...]:
    """Return what every program begins with.

    Returns:
        axes: (0, …, i - 1); its length, the number of features, is a constant to the compiler.
        theta: Weights (B, p): k numbers for each feature, then a, then c; float64 as everything else.
        x: Inputs (1, n, i) of all or (B, n, i), with the column of ones.
        y: Targets (B, n).
        slopes: Of the negative side (B,).
        biases: Which units have biases.
    """
    architecture = networks.architecture
    by_feature = networks._replace(theta=networks.theta[:, architecture.by_feature])
    return tuple(range(architecture.shapes[0][1])), *by_feature.arrays(), networks.biases
