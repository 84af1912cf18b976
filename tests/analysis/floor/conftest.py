"""The norms, and data that have floors."""

from collections.abc import Callable

import numpy as np
import pytest

from relusweep.sweep.data import dataset
from relusweep.sweep.run import Run

NORMS = ["stability", "oriented_stability", "sufficient"]


@pytest.fixture
def pyramid() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Return the training set of the pyramid as a run has it."""

    def draw(n: int, d: int = 2) -> tuple[np.ndarray, np.ndarray]:
        data = dataset(Run.model_validate({"problem": "pyramid", "d": d, "n": n, "lr": 1.0}).model_dump())
        return data.x, data.y

    return draw
