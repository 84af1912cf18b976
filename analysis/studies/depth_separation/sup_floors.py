"""Sup-errors of the depth study: what norm a shallow network needs for one, and which one a step size leaves it.

Both are asked in all three norms: affine functions cost S nothing, but not S̃ or S_G. A stable minimum with sup-error
ε has S ≤ S̃ ≤ 1/η - ½ + slack · ε; with S_G ≤ 1/η - ½ a function has a stable implementation for its own values as
labels.
"""

import polars as pl

from relusweep.analysis.floor import Floors, Norm, budget, residual_slack
from relusweep.analysis.studies.depth_separation.arms import Arms
from relusweep.analysis.studies.depth_separation.floors import Row, Sample, affordable, chosen, of_each
from relusweep.sweep.data import Dataset

FEW_SAMPLES, FEW_HYPERPLANES = 128, 50_000  # up to here: seconds a data set
ERRORS = (0.3, 0.1, 0.03)
_NORMS: dict[Norm, str] = {"stability": "S", "oriented_stability": "S̃", "sufficient": "S_G"}


def sup_floors(found: Arms) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Compute the least sup-error for a norm, and the least norm for a sup-error, on the smallest data.

    Returns:
        A row a data set, norm and step size: the data's names, `norm, lr, budget` (1/η - ½), `floor_sup, reached_sup,
        gap` (the least sup-error of networks with norm ≤ budget: certified, attained, and what is between), and
        `stable_sup` (certified for all minima that are stable at η; null for S_G, which these do not bound).

        A row a data set, norm and error: `norm, error, lower, upper, gap` (the least norm with that sup-error:
        certified, attained, and what is between), `largest_lr` (beyond 1/(lower + ½ - slack · error) no minimum with
        that error is stable, whatever the width) and `reached_lr` (up to 1/(upper + ½), for S_G, some are).

        A sentence for each data set whose solver gave up, and one if there are larger ones.
    """
    known = affordable(found)
    sets = [each for each in known if each.n <= FEW_SAMPLES and each.hyperplanes <= FEW_HYPERPLANES]
    results, given_up = of_each(sets, found, "floor of the sup-error", _both)
    if len(sets) < len(known):
        given_up.append(
            f"The least sup-error is certified for {len(sets)} of {len(known)} data sets that have floors: those of "
            f"at most {FEW_SAMPLES} samples, with at most {FEW_HYPERPLANES:,} hyperplanes through d of them."
        )
    at_steps, for_errors = ([row for pair in results for row in pair[place]] for place in (0, 1))
    return pl.DataFrame(at_steps, schema=STEPS_SCHEMA), pl.DataFrame(for_errors, schema=ERRORS_SCHEMA), given_up


def _both(sample: Sample, data: Dataset) -> tuple[list[Row], list[Row]]:
    """Return the rows of a data set in either table."""
    slack, at_steps, for_errors = residual_slack(data.x), [], []
    for norm, name in _NORMS.items():
        names = sample.names | {"norm": name}
        floors, is_bounded = Floors(data.x, data.y, norm), norm != "sufficient"
        for lr in chosen(sample.rates):
            most = budget(lr)
            least = floors.least_error(most)
            stable = floors.least_error(most, slack).lower if is_bounded else None
            values = {"floor_sup": least.lower, "reached_sup": least.upper, "gap": least.gap, "stable_sup": stable}
            at_steps.append(names | {"lr": lr, "budget": most} | values)
        for error in ERRORS:
            least = floors.least_norm(error)
            room = least.lower + 0.5 - slack * error
            largest = (min(2.0, 1 / room) if room > 0 else 2.0) if is_bounded else None
            reached = None if is_bounded else 1 / (least.upper + 0.5)
            values = {"error": error, "lower": least.lower, "upper": least.upper, "gap": least.gap}
            for_errors.append(names | values | {"largest_lr": largest, "reached_lr": reached})
    return at_steps, for_errors


_NAMES_SCHEMA = {
    "problem": pl.String, "bandwidth": pl.Float64, "d": pl.Int64, "n": pl.Int64, "data_seed": pl.Int64,
    "norm": pl.String,
}  # fmt: skip
STEPS_SCHEMA = _NAMES_SCHEMA | {
    "lr": pl.Float64, "budget": pl.Float64, "floor_sup": pl.Float64, "reached_sup": pl.Float64, "gap": pl.Float64,
    "stable_sup": pl.Float64,
}  # fmt: skip
ERRORS_SCHEMA = _NAMES_SCHEMA | {
    "error": pl.Float64, "lower": pl.Float64, "upper": pl.Float64, "gap": pl.Float64, "largest_lr": pl.Float64,
    "reached_lr": pl.Float64,
}  # fmt: skip
