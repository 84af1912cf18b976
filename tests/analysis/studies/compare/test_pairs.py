"""Which runs are pairs, and what they are held against."""

import polars as pl
import pytest

from relusweep.analysis.studies.compare.pairs import MEASURES, Pairs, of_baseline
from relusweep.sweep.run import Run


def two(row, **more):
    """Runs of gd and momentum, 2 step sizes × 3 seeds each; momentum is as sharp as 1.5 times gd."""
    return [
        row(lr, seed, eos=0.4 if rule == "gd" else 0.6, optimizer=rule, **more)
        for rule in ("gd", "momentum")
        for lr in (0.1, 0.2)
        for seed in range(3)
    ]


def test_runs_that_agree_in_all_else_are_pairs_and_what_hangs_on_the_parameter_may_differ(row, frame):
    pairs = Pairs.of(frame(two(row)), "optimizer")
    assert pairs.baseline == "optimizer gd"
    assert pairs.rows["arm"].unique().to_list() == ["optimizer momentum, momentum 0.9"]
    assert len(pairs.rows) == 6
    for pair in pairs.rows.iter_rows(named=True):
        assert pair["run_id"] == row(pair["lr"], pair["seed"], optimizer="momentum")["run_id"]
        assert pair[of_baseline("run_id")] == row(pair["lr"], pair["seed"], optimizer="gd")["run_id"]
        assert pair["sharpness"] == pytest.approx(1.5 * pair[of_baseline("sharpness")])
    counts = {"runs": 6, "pairs": 6, "converged": 6, "budget": 0, "diverged": 0, "alone": 0, "baseline_alone": 0}
    assert pairs.counts.row(0, named=True) == {"arm": "optimizer momentum, momentum 0.9"} | counts


def test_order_of_the_runs_leaves_no_trace(row, frame):
    runs = frame(two(row))
    one, other = Pairs.of(runs, "optimizer"), Pairs.of(runs.reverse(), "optimizer")
    assert one.rows.sort("run_id").equals(other.rows.sort("run_id"))
    assert one.counts.equals(other.counts)


def test_what_has_no_partner_or_did_not_converge_is_counted(row, frame):
    rows = two(row)
    rows[0] |= {"status": "budget"}
    rows[1] |= {"status": "diverged"} | dict.fromkeys(MEASURES[:-1])
    rows[7] |= {"status": "budget"}  # the partner of the diverged one
    found = Pairs.of(frame([*rows[:11], row(0.3, 0), row(0.4, 0, optimizer="momentum")]), "optimizer").counts
    counts = {"runs": 6, "pairs": 5, "converged": 3, "budget": 1, "diverged": 1, "alone": 1, "baseline_alone": 2}
    assert found.drop("arm").row(0, named=True) == counts


def test_each_combination_of_what_hangs_on_the_parameter_is_an_arm(row, frame):
    rows = [row(seed=s, optimizer="momentum", momentum=mu) for mu in (0.5, 0.9) for s in range(2)]
    pairs = Pairs.of(frame([*rows, *(row(seed=s) for s in range(2))]), "optimizer")
    assert pairs.counts["arm"].to_list() == ["optimizer momentum, momentum 0.5", "optimizer momentum, momentum 0.9"]
    assert pairs.counts["pairs"].to_list() == [2, 2]


@pytest.mark.parametrize(
    ("parameter", "values", "baseline"),
    [
        ("width", (32, 64, 128), "width 64"),  # the default
        ("width", (16, 32), "width 16"),  # the least
        ("bias", (True, False, "hidden"), "bias"),
        ("activation", ("relu", "leaky_relu"), "activation relu"),
        ("lr", (0.1, 0.3), "lr 0.1"),
        ("seed", (1, 2), "seed 1"),
    ],
)
def test_baseline_is_the_default_or_the_least(row, frame, parameter, values, baseline):
    pairs = Pairs.of(frame([row(**{parameter: value}) for value in values]), parameter)
    assert pairs.baseline == baseline
    assert pairs.counts["pairs"].to_list() == [1] * (len(values) - 1)


def test_every_parameter_can_be_compared(row, frame):
    """Of any runs: those that differ in it and what hangs on it pair, the others do not."""
    runs = frame(two(row))
    for parameter in Run.model_fields:
        if parameter not in ("optimizer", "momentum", "lr", "seed") and runs[parameter][0] is not None:
            other = runs.with_columns(
                pl.lit(None, runs.schema[parameter]).alias(parameter), run_id="x" + pl.col("run_id")
            )
            rows = Pairs.of(pl.concat([runs, other]), parameter).rows
            assert len(rows) == 12, parameter
