"""Dataset: inputs and targets of a training and a test set, and the random streams that they are drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relusweep.sweep.errors import RelusweepError

Array = NDArray[np.float64]
Parameters = Mapping[str, Any]

TRAIN, TEST, TARGET, TRAIN_NOISE = 1, 2, 3, 4  # purposes: one independent random stream each


class DataError(RelusweepError):
    """A data set cannot be had: the message says which, why, and what would help."""


@dataclass(frozen=True)
class Dataset:
    """Inputs and targets, float64: x (n, d), y (n,), x_test (n_test, d), y_test (n_test,)."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def stream(p: Parameters, purpose: int) -> np.random.Generator:
    """Return the random numbers of a purpose, a function of `data_seed`."""
    return np.random.default_rng([p["data_seed"], purpose])


def inputs(domain: str, radius: float, d: int, count: int, rng: np.random.Generator) -> Array:
    """Draw `count` points (count, d): uniform in a cube, l2 ball or l1 ball of the radius, or N(0, radius² I)."""
    if domain == "cube":
        return rng.uniform(-radius, radius, (count, d))
    if domain == "l1_ball":  # the first d of d+1 exponential spacings are uniform in the simplex; signs reflect it
        spacings = rng.standard_exponential((count, d + 1))
        signs = rng.choice([-1.0, 1.0], (count, d))
        return radius * signs * spacings[:, :d] / spacings.sum(1, keepdims=True)
    points = rng.standard_normal((count, d))
    if domain == "gaussian":
        return radius * points
    lengths = rng.uniform(size=(count, 1)) ** (1 / d)
    return radius * lengths * points / np.linalg.norm(points, axis=1, keepdims=True)
