"""Figures of comparisons."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relusweep.analysis.plotting import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    SKY,
    heavy,
    layout,
    legend,
    log_axes,
    plain,
    styled,
    thin,
)
from relusweep.analysis.studies.compare.captions import WORDS
from relusweep.analysis.studies.compare.pairs import BOTH_CONVERGED, ONE_DIVERGED, Pairs, of_baseline

_LOOKS = tuple(zip((BLUE, ORANGE, GREEN, RED, SKY), "os^Dv", strict=True))
MOST_ARMS = len(_LOOKS)


def draw(pairs: Pairs, by_lr: pl.DataFrame | None) -> dict[str, Figure]:
    """Draw the pairs, and their ratios against the step size where there are several.

    Args:
        pairs: All of them.
        by_lr: The table of differences at each step size.
    """
    arms = pairs.counts.sort("pairs", "arm", descending=[True, False])["arm"].to_list()[:MOST_ARMS]
    points = pairs.rows.filter(~ONE_DIVERGED)
    measures = [name for name in WORDS if _positive(points, name).height]
    drawn = {}
    if measures:
        drawn["paired"] = _paired(pairs.baseline, points, measures, arms)
    if by_lr is not None:
        shown = by_lr.filter(pl.col("ratio").is_not_null(), pl.col("arm").is_in(arms))
        measures = [name for name in WORDS if shown.filter(measure=name).height]
        if measures:
            drawn["ratios"] = _ratios(pairs.baseline, shown, measures, arms)
    return drawn


def _positive(points: pl.DataFrame, measure: str) -> pl.DataFrame:
    """Return the pairs that logarithmic axes can show."""
    return points.filter((pl.col(measure) > 0) & (pl.col(of_baseline(measure)) > 0))


def _title(measure: str) -> str:
    return WORDS[measure][1].removeprefix("the ")


def _paired(baseline: str, points: pl.DataFrame, measures: list[str], arms: list[str]) -> Figure:
    with styled():
        figure, cells = layout({_title(name): _positive(points, name) for name in measures}, height=4.4)
        for measure, (title, data, cell) in zip(measures, cells, strict=True):
            axes = figure.add_subplot(cell)
            ends = pl.concat([data[measure].cast(pl.Float64), data[of_baseline(measure)].cast(pl.Float64)])
            low, high = float(ends.min() or 1) / 1.15, float(ends.max() or 1) * 1.15
            axes.plot((low, high), (low, high), "--", color="black", linewidth=1, label="equal")
            for arm, (colour, marker) in zip(arms, _LOOKS, strict=False):
                for converged in (True, False):
                    chosen = thin(data.filter(pl.col("arm") == arm, converged == BOTH_CONVERGED))
                    if chosen.height:
                        axes.plot(
                            chosen[of_baseline(measure)], chosen[measure], marker, color=colour, alpha=0.7,
                            markerfacecolor=colour if converged else "none", rasterized=heavy(chosen),
                            label=plain(arm if converged else f"{arm}, not converged"),
                        )  # fmt: skip
            axes.set_xlim(low, high)
            axes.set_ylim(low, high)
            log_axes(axes, title, ylabel="of the run")
            axes.set_xlabel(plain(f"of its partner, {baseline}"))
        legend(figure)
        return figure


def _ratios(baseline: str, rows: pl.DataFrame, measures: list[str], arms: list[str]) -> Figure:
    with styled():
        figure, cells = layout({_title(name): rows.filter(measure=name) for name in measures}, height=3.4)
        shared: Axes | None = None
        for title, data, cell in cells:
            axes = figure.add_subplot(cell, sharex=shared, sharey=shared)
            shared = shared or axes
            axes.axhline(1, color="black", linestyle="--", linewidth=1)
            for arm, (colour, marker) in zip(arms, _LOOKS, strict=False):
                line = data.filter(arm=arm).sort("lr")
                if line.height:
                    ratio, low, high = (line[name].to_numpy() for name in ("ratio", "ratio_low", "ratio_high"))
                    axes.errorbar(
                        line["lr"].to_numpy(), ratio, (ratio - low, high - ratio), color=colour, marker=marker,
                        capsize=3, label=plain(arm),
                    )  # fmt: skip
            log_axes(axes, title, ylabel=plain(f"ratio to {baseline}"))
            axes.set_xlabel(r"step size $\eta$")
        legend(figure)
        return figure
