"""Plotting: what all figures share."""

import matplotlib as mpl
import polars as pl
from matplotlib.figure import Figure

from relusweep.analysis.plotting import MOST_POINTS, legend, log_axes, plain, save, styled, thin


def test_thinning_keeps_few_and_always_the_same_points():
    data = pl.DataFrame({"lr": range(10 * MOST_POINTS + 1)})
    assert MOST_POINTS / 2 < len(thin(data)) <= MOST_POINTS
    assert thin(data).equals(thin(data))
    assert len(thin(data.head(7))) == 7


def test_names_with_dollars_are_no_formulas():
    with styled():
        figure = Figure()
        axes = figure.add_subplot()
        axes.plot([1, 2], [1, 2], label=plain(r"file a$\frac{$.csv"))
        log_axes(axes, r"file a$\frac{$.csv", "loss")
        legend(figure)
    assert b"<svg" in save(figure, "svg")


def test_style_of_a_user_changes_no_figure():
    def drawn() -> bytes:
        with styled():
            figure = Figure()
            figure.add_subplot().set_title("2/η")
        return save(figure, "svg")

    plain = drawn()
    with mpl.rc_context({"text.usetex": True, "figure.figsize": (1, 1), "savefig.bbox": "tight", "font.size": 40}):
        assert drawn() == plain
