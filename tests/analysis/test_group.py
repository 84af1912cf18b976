import numpy as np
import pytest

from relusweep.analysis.group import BINS, evenly, group, shown, summarise


def test_picks_are_even_and_hold_both_ends():
    assert evenly([], 3) == []
    assert evenly([1.0], 3) == [1.0]
    assert evenly([1.0, 2.0], 1) == [1.0, 2.0], "the ends are always among them"
    assert evenly([float(i) for i in range(11)], 3) == [0.0, 5.0, 10.0]
    assert evenly([1.0, 2.0, 3.0], 9) == [1.0, 2.0, 3.0]


def test_runs_that_differ_in_step_size_and_seeds_only_are_one_group(frame, row):
    grouping = group(frame([row(lr, seed, data_seed=seed) for lr in (0.1, 0.2) for seed in range(3)]))
    assert grouping.groups["label"].to_list() == ["all runs"]
    assert grouping.runs["group"].unique().to_list() == [0]


def test_label_names_no_more_than_tells_groups_apart(frame, row):
    rows = [row(), row(optimizer="sgd", batch_size=8), row(optimizer="sgd", batch_size=16), row(bias=False)]
    labels = group(frame(rows)).groups["label"].to_list()
    assert sorted(labels) == [
        "bias, optimizer gd, batch_size 0",
        "bias, optimizer sgd, batch_size 16",
        "bias, optimizer sgd, batch_size 8",
        "no bias, optimizer gd, batch_size 0",
    ]
    pyramid = row(problem="pyramid", d=2)
    assert sorted(group(frame([row(), pyramid])).groups["label"]) == ["problem digits", "problem pyramid"]


def test_groups_do_not_depend_on_the_order_of_runs(frame, row):
    rows = [row(width=width, seed=seed) for width in (64, 8, 16) for seed in range(2)]
    assert group(frame(rows)).groups.equals(group(frame(rows[::-1])).groups)


def test_summary_takes_quantiles_of_converged_runs_only(frame, row):
    rows = [row(0.1, seed, eos=(seed + 1) / 10) for seed in range(5)]
    rows += [row(0.1, 5, eos=9.0, status="budget"), row(0.1, 6, status="diverged"), row(0.2, 0, status="diverged")]
    first, second = summarise(group(frame(rows)), ["eos_ratio"]).rows(named=True)
    assert [first[key] for key in ("runs", "converged", "budget", "diverged")] == [7, 5, 1, 1]
    expected = np.quantile([0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.5, 0.9])
    assert [first[f"eos_ratio_{q}"] for q in ("q10", "median", "q90")] == pytest.approx(expected)
    assert second["eos_ratio_median"] is None
    assert second["edge"] == 10.0


def test_summary_has_the_edge_of_momentum_runs(frame, row):
    rows = [row(0.2), row(0.2, optimizer="momentum", momentum=0.5)]
    assert sorted(summarise(group(frame(rows)), [])["edge"]) == [10.0, 15.0]


def test_summary_pools_step_sizes_of_a_random_sweep(frame, row):
    rates = np.exp(np.random.default_rng(0).uniform(np.log(0.01), 0, 300))
    summary = summarise(group(frame([row(float(lr)) for lr in rates])), ["eos_ratio"])
    assert BINS / 2 < len(summary) <= BINS
    assert summary["runs"].sum() == 300
    assert summary["lr"].is_sorted()


def test_shown_groups_are_those_with_most_converged_runs(frame, row):
    rows = [row(width=8), *(row(width=16, seed=s) for s in range(3)), row(width=32, status="diverged")]
    assert shown(group(frame(rows)), most=2) == [0, 1]
    assert shown(group(frame(rows)), most=1) == [1]
