"""Witness: the network of two hidden layers that is the pyramid [1 - ‖x‖₁]₊ exactly.

    f(x) = a σ(c₂ - q Σ_i (σ(s x_i) + σ(-s x_i))),    a q s = 1,  a c₂ = 1

Every (s, a) gives the same function and another sharpness. Units beyond the 2d + 1 that it takes are zero: they are
inactive everywhere and get no gradient.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def fault(parameters: Mapping[str, Any]) -> str | None:
    """Return why a run cannot start at the witness; None if it can."""
    wanted = {"problem": "pyramid", "depth": 2, "bias": True, "output_bias": None, "activation": "relu"}
    for key, value in wanted.items():
        if parameters[key] != value:
            return f"{key} = {parameters[key]!r}; init = 'witness' needs {key} = {value!r}"
    if parameters["width"] < 2 * parameters["d"]:
        return f"width = {parameters['width']}; init = 'witness' needs at least 2d = {2 * parameters['d']} units"
    if parameters["output_scale"] == 0:
        return "output_scale = 0.0; init = 'witness' takes it for the output weight a, above 0"
    return None


def witness(d: int, width: int, width2: int, s: float = 1.0, a: float = 1.0) -> list[NDArray[np.float64]]:
    """Return the rows [w_i, b_i] of the three layers.

    Args:
        d: Input dimension.
        width: Units of the first hidden layer, at least 2d.
        width2: Units of the second.
        s: Weights of the first layer.
        a: Output weight.
    """
    first, second, last = np.zeros((width, d + 1)), np.zeros((width2, width + 1)), np.zeros((1, width2 + 1))
    first[:d, :d], first[d : 2 * d, :d] = s * np.eye(d), -s * np.eye(d)
    second[0, : 2 * d], second[0, -1] = -1 / (a * s), 1 / a
    last[0, 0] = a
    return [first, second, last]
