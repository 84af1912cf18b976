"""Figures of the stability study: axes and colours of what `panels` has aggregated."""

import math
from itertools import pairwise

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relusweep.analysis.bounds import EDGE
from relusweep.analysis.group import Grouping, shown
from relusweep.analysis.plotting import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    SEQUENCE,
    SKY,
    Panels,
    band,
    heavy,
    layout,
    legend,
    log_axes,
    styled,
    thin,
)
from relusweep.analysis.studies.stability import panels

MOST_PANELS = 8


def draw(
    grouping: Grouping, judged: pl.DataFrame, summary: pl.DataFrame, fits: pl.DataFrame, trajectories: pl.DataFrame
) -> dict[str, Figure]:
    """Draw the figures that the data allow, with a panel for each group that is shown.

    Args:
        grouping: Runs in groups.
        judged: Rows of `bounds.judge` with a column `group`.
        summary: Of `group.summarise`.
        fits: The study's table of exponents.
        trajectories: Moments of `sweep.record`, possibly none.

    Returns:
        Figures by key, the main one first.
    """
    groups = {grouping.label(index): index for index in shown(grouping, MOST_PANELS)}
    summaries, edges, norms, errors, paths = {}, {}, {}, {}, {}
    for label, index in groups.items():
        runs = grouping.runs.filter(group=index)
        summaries[label] = summary.filter(group=index).with_columns(**panels.names(runs))
        at_edge = runs.filter(status="converged").select("lr", "eos_ratio", edge=EDGE).drop_nulls()
        if len(at_edge):
            edges[label] = at_edge
        points = panels.points(judged.filter(group=index), panels.norm_limit(runs))
        if len(points):
            norms[label] = points
        if summaries[label]["train_rmse_median"].drop_nulls().len():
            errors[label] = summaries[label]
        moments = panels.moments(runs, trajectories)
        if len(moments):
            paths[label] = moments
    lines = {label: panels.lines(points, fits.filter(group=groups[label])) for label, points in norms.items()}
    drawn = {"stability": _stability(summaries)}
    if norms:
        drawn["norms"] = _norms(norms, lines)
    if edges:
        drawn["edge"] = _edge(edges, summaries)
    if errors:
        drawn["errors"] = _errors(errors)
    if paths:
        drawn["paths"] = _paths(paths)
    return drawn


def _stability(panels: Panels) -> Figure:
    """Draw λ_max, 2/η, 1+2S and 1+2S̃ against η: medians and 10–90 % bands over seeds; beneath, the shares of outcomes.

    Each frame is a summary of `group.summarise` with texts `edge_style, edge_name, norm_name, oriented_norm_name`.
    """
    with styled():
        figure, cells = layout(panels, height=4.4)
        for title, data, cell in cells:
            upper, lower = cell.subgridspec(2, 1, height_ratios=(5, 1), hspace=0.06)
            axes = figure.add_subplot(upper)
            strip = figure.add_subplot(lower, sharex=axes)
            names = data.row(0, named=True)
            style, name = names["edge_style"], names["edge_name"]
            axes.plot(data["lr"], data["edge"], style, color="black", linewidth=1, zorder=3, label=name)
            band(axes, data, "sharpness", BLUE, "o", r"$\lambda_{\max}$")
            band(axes, data, "oriented_sharpness_floor", ORANGE, "s", names["oriented_norm_name"])
            band(axes, data, "sharpness_floor", GREEN, "^", names["norm_name"])
            log_axes(axes, title, ylabel="curvature")
            axes.tick_params(labelbottom=False)
            _outcome_strip(strip, data)
        legend(figure)
        return figure


def _edge(panels: Panels, medians: Panels) -> Figure:
    """Draw λ_max η/2 of every converged run against η, with the median and the edge of stability.

    Frames of `panels` have `lr, eos_ratio, edge`; those of `medians` are summaries.
    """
    with styled():
        figure, cells = layout(panels, height=3.0)
        for title, data, cell in cells:
            axes = figure.add_subplot(cell)
            points = thin(data)
            names = medians[title].row(0, named=True)
            label = rf"$\lambda_{{\max}}$ = {names['edge_name']}"
            axes.axhline(data["edge"][0], color="black", linestyle=names["edge_style"], linewidth=1.2, label=label)
            axes.plot(
                points["lr"], points["eos_ratio"], ".", color=SKY, alpha=0.5, rasterized=heavy(points), label="run"
            )
            middle = medians[title].drop_nulls("eos_ratio_median")
            axes.plot(middle["lr"], middle["eos_ratio_median"], "-o", color=BLUE, label="median over seeds")
            log_axes(axes, title, ylabel=r"$\lambda_{\max}\,\eta/2$", y="linear")
            axes.set_xlabel(r"step size $\eta$")
            axes.set_ylim(bottom=0)
        legend(figure)
        return figure


def _norms(panels: Panels, lines: Panels) -> Figure:
    """Draw S and S̃ against their limit, on log–log axes, with the fitted power laws.

    Frames of `panels` have `measure` (legend text), `limit, value, outcome`; those of `lines` have `measure`, `label`
    (the exponent in words) and the two ends `x0, y0, x1, y1` of a fitted line.
    """
    with styled():
        figure, cells = layout(panels, height=4.0)
        for title, data, cell in cells:
            axes = figure.add_subplot(cell)
            ends = data["limit"].sort().gather([0, -1])
            axes.plot(ends, ends, "--", color="black", linewidth=1.2, label="the bound")
            measures = data["measure"].unique(maintain_order=True)
            for measure, colour, marker in zip(measures, (ORANGE, GREEN), ("s", "^"), strict=False):
                points = thin(data.filter(measure=measure))
                axes.plot(
                    points["limit"], points["value"], marker, color=colour, alpha=0.45, markersize=3.5,
                    markeredgewidth=0, rasterized=heavy(points), label=measure,
                )  # fmt: skip
                for fit in lines[title].filter(measure=measure).iter_rows(named=True):
                    axes.plot((fit["x0"], fit["x1"]), (fit["y0"], fit["y1"]), color=colour, linewidth=2.2)
                    axes.annotate(
                        fit["label"], (fit["x1"], fit["y1"]), xytext=(-4, 7), textcoords="offset points",
                        horizontalalignment="right", fontsize=10, zorder=4,
                        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
                    )  # fmt: skip
            beyond = data.filter(outcome="violates")
            if len(beyond):
                axes.plot(beyond["limit"], beyond["value"], "x", color=RED, markersize=9, label="violates the bound")
            log_axes(axes, title, ylabel=r"norm at the minimum")
            axes.set_xlabel(data["limit_name"][0])
        legend(figure)
        return figure


def _errors(panels: Panels) -> Figure:
    """Draw training and test error against η: medians and 10–90 % bands of the converged runs."""
    with styled():
        figure, cells = layout(panels, height=3.0)
        for title, data, cell in cells:
            axes = figure.add_subplot(cell)
            band(axes, data, "train_rmse", GREY, "o", "training")
            band(axes, data, "test_rmse", BLUE, "s", "test")
            log_axes(axes, title, ylabel="root mean square error")
            axes.set_xlabel(r"step size $\eta$")
        legend(figure)
        return figure


def _paths(panels: Panels) -> Figure:
    """Draw λ_max η/2 along training; one line a step size. Frames have `lr, edge, step, eos_ratio`."""
    with styled():
        figure, cells = layout(panels, height=3.2)
        for title, data, cell in cells:
            axes = figure.add_subplot(cell)
            axes.axhline(data["edge"][0], color="black", linestyle="--", linewidth=1.2)
            rates = data["lr"].unique().sort().to_list()
            for index, lr in enumerate(rates):
                line = data.filter(lr=lr).sort("step")
                shade = SEQUENCE[index * (len(SEQUENCE) - 1) // max(1, len(rates) - 1)]
                axes.plot(line["step"], line["eos_ratio"], "-", color=shade, label=rf"$\eta$ = {lr:.3g}")
            log_axes(axes, title, ylabel=r"$\lambda_{\max}\,\eta/2$")
            axes.set_xlabel("step")
            axes.legend(fontsize=9, loc="best", ncols=2 if len(rates) > 3 else 1)
        return figure


def _outcome_strip(axes: Axes, data: pl.DataFrame) -> None:
    """Draw the shares of outcomes as bars that fill the strip."""
    rates = data["lr"].to_list()
    middles = [math.sqrt(a * b) for a, b in pairwise(rates)]
    first = rates[0] ** 2 / middles[0] if middles else rates[0] / 1.1
    last = rates[-1] ** 2 / middles[-1] if middles else rates[0] * 1.1
    edges = [first, *middles, last]
    base = [0.0] * len(rates)
    for outcome, colour in (("converged", "#B9D7EA"), ("budget", "#F3DFA8"), ("diverged", RED)):
        shares = (data[outcome] / data["runs"]).to_list()
        widths = [b - a for a, b in pairwise(edges)]
        if any(shares):
            axes.bar(
                edges[:-1],
                shares,
                widths,
                bottom=base,
                align="edge",
                color=colour,
                linewidth=0.4,
                edgecolor=colour,
                label=outcome,
            )
        base = [a + b for a, b in zip(base, shares, strict=True)]
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 1], ["0", "1"])
    axes.set_ylabel("share", fontsize=10)
    axes.set_xlabel(r"step size $\eta$")
