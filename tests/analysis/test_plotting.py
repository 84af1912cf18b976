"""Plotting: what all figures share."""

import polars as pl

from relusweep.analysis.plotting import MOST_POINTS, thin


def test_thinning_keeps_few_and_always_the_same_points():
    data = pl.DataFrame({"lr": range(10 * MOST_POINTS + 1)})
    assert MOST_POINTS / 2 < len(thin(data)) <= MOST_POINTS
    assert thin(data).equals(thin(data))
    assert len(thin(data.head(7))) == 7
