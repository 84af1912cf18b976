"""Plotting: what all figures share."""

import matplotlib as mpl
import polars as pl
from matplotlib.figure import Figure

from relusweep.analysis.plotting import MOST_POINTS, save, styled, thin


def test_thinning_keeps_few_and_always_the_same_points():
    data = pl.DataFrame({"lr": range(10 * MOST_POINTS + 1)})
    assert MOST_POINTS / 2 < len(thin(data)) <= MOST_POINTS
    assert thin(data).equals(thin(data))
    assert len(thin(data.head(7))) == 7


def test_style_of_a_user_changes_no_figure():
    def drawn() -> bytes:
        with styled():
            figure = Figure()
            figure.add_subplot().set_title("2/η")
        return save(figure, "svg")

    plain = drawn()
    with mpl.rc_context({"text.usetex": True, "figure.figsize": (1, 1), "savefig.bbox": "tight", "font.size": 40}):
        assert drawn() == plain
