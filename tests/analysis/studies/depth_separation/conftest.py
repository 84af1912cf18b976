"""Planted runs on the pyramid, shallow and deep, and the depth study of them."""

import polars as pl
import pytest

from relusweep.analysis.studies.depth_separation.arms import arms
from relusweep.analysis.studies.depth_separation.critical_step import critical
from relusweep.analysis.studies.depth_separation.study import STUDY

RATES = (0.1, 0.4, 0.9, 1.5)
CONSTANT = 0.02  # about the loss of the best constant in d = 2


@pytest.fixture
def network(row):
    """A recorded run on the pyramid: shallow with a width, deep with two."""

    def make(lr, seed, width2=None, loss=1e-5, **given):
        shape = {"width": 16, "width2": width2, "depth": 2} if width2 else {"width": 32}
        if width2:
            shape |= dict.fromkeys(("stability_norm", "oriented_stability_norm"))
        data = {"problem": "pyramid", "d": 2, "n": 20, "n_test": 8, "warmup_steps": 100}
        status = {"status": "budget", "loss": loss, "train_rmse": (2 * loss) ** 0.5}
        return row(lr, seed, **(data | shape | status | given))

    return make


@pytest.fixture
def both(network):
    """Shallow and deep runs; the shallow ones fail from a step size on, `critical`, which a seed may have its own of."""

    def make(critical, rates=RATES, seeds=4, **given):
        lost = [critical] * seeds if isinstance(critical, float) else critical
        return [
            network(lr, seed, width2, 0.5 * CONSTANT if lr >= lost[seed] and not width2 else 1e-5, **given)
            for lr in rates
            for seed in range(seeds)
            for width2 in (None, 16)
        ]

    return make


@pytest.fixture
def studied(asked):
    return asked(STUDY)


@pytest.fixture
def splits(frame):
    """The critical step sizes of the one setting of some runs."""

    def find(rows):
        found = arms(
            frame(list(rows)), pl.DataFrame(schema={"run_id": pl.String, "step": pl.Int64, "loss": pl.Float64})
        )
        return critical(found.runs, found.grouping).row(0, named=True)

    return find


CLAIM = "d = 2: do shallow networks fail at the pyramid where deep ones fit"
FLOOR = "Is every shallow network above the certified floor"
