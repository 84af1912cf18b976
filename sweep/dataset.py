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
