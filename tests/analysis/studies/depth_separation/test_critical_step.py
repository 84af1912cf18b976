"""Critical step sizes of planted runs: where the shallow network leaves the deep one, seed by seed."""

import pytest

from relusweep.analysis.studies.depth_separation.arms import FITS
from relusweep.sweep.spec import Spec
from tests.analysis.studies.conftest import verdict
from tests.analysis.studies.depth_separation.conftest import CLAIM, CONSTANT, RATES


@pytest.mark.slow
def test_refined_step_sizes_of_single_seeds_narrow_the_critical_one(studied, both, network):
    refined = [network(lr, 0, None, loss) for lr, loss in ((0.6, 1e-5), (0.735, 0.5 * CONSTANT))]
    alone = studied([*both(0.9, seeds=1), *refined]).tables["critical"].row(0, named=True)
    assert (alone["low"], alone["high"]) == (0.6, 0.735)


@pytest.mark.parametrize(
    ("shallow", "deep", "low", "high"),
    [
        ({0.1, 0.4, 0.9, 1.5}, {0.1, 0.4, 0.9, 1.5}, None, None),
        ({0.1, 0.9}, {0.1, 0.4, 0.9, 1.5}, 0.9, 1.5),  # comes back
        ({0.4, 0.9}, {0.1, 0.4, 0.9, 1.5}, 0.9, 1.5),  # unfinished at a small step
        ({0.1, 0.4}, {0.1, 0.4, 1.5}, 0.4, 1.5),  # neither fits between
        ({0.1, 0.4}, {0.1, 0.4}, None, None),  # shallow stands what deep does
        ({0.9}, {0.1, 0.4}, None, None),
        (set(), {0.1, 0.4, 0.9}, None, None),
    ],
)
def test_critical_step_size_lies_above_the_last_fit_of_shallow_and_below_a_fit_of_deep(
    splits, network, shallow, deep, low, high
):
    row = splits(
        network(lr, 0, width2, 1e-5 if lr in fits else 0.5 * CONSTANT)
        for lr in RATES
        for width2, fits in ((None, shallow), (16, deep))
    )
    assert (row["low"], row["high"], row["separated"]) == (low, high, int(high is not None))
    assert row["never"] == (not shallow)


def test_refined_step_size_counts_only_where_deep_fits_at_the_next_larger_one(splits, both, network):
    rows = both(9.0, rates=(0.4, 0.9), seeds=1)
    rows += [network(lr, 0, width2, 0.5 * CONSTANT) for lr, width2 in ((1.5, 16), (1.2, None), (1.6, None))]
    row = splits(rows)
    assert (row["pairs"], row["separated"], row["high"]) == (1, 0, None)


@pytest.mark.slow
def test_shallow_network_that_fits_nowhere_has_no_critical_step_size(studied, both):
    result = studied(both([0.9, 0.9, 0.01, 0.01]))
    row = result.tables["critical"].row(0, named=True)
    assert (row["pairs"], row["separated"], row["never"], row["low"], row["high"]) == (4, 2, 2, 0.4, 0.9)
    sentence = verdict(result, CLAIM).sentence
    assert "In 2 of 4 pairs of seeds the shallow network fits at no step size at all" in sentence
    assert "critical step size" not in sentence  # half of the seeds are not most


def test_setting_with_a_single_step_size_has_no_critical_one(studied, network):
    result = studied([network(0.9, 0, None, 0.5 * CONSTANT), network(0.9, 0, 16, 1e-5)])
    assert result.tables["critical"].is_empty()


def test_bisection_of_the_shipped_spec_asks_what_the_study_asks():
    refine = Spec.read("depth_separation_critical").refine
    assert (refine.parameter, refine.column, refine.threshold) == ("lr", "unexplained_fraction", FITS)
