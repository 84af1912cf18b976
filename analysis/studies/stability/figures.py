"""Panels of the stability study: what each figure is given, aggregated and named."""

import math

import polars as pl
from matplotlib.figure import Figure

from relusweep.analysis import figures
from relusweep.analysis.bounds import EDGE
from relusweep.analysis.group import Grouping, shown

MOST_PANELS = 8
MOST_PATHS = 6  # step sizes whose trajectories are drawn
NORMS = {"oriented_stability_norm": r"$\tilde{S}$", "stability_norm": "$S$"}  # in the order in which they are drawn


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
    """
    groups = {grouping.label(index): index for index in shown(grouping, MOST_PANELS)}
    summaries, edges, norms, errors, paths = {}, {}, {}, {}, {}
    for label, index in groups.items():
        runs = grouping.runs.filter(group=index)
        summaries[label] = summary.filter(group=index).with_columns(**_names(runs))
        at_edge = runs.filter(status="converged").select("lr", "eos_ratio", edge=EDGE).drop_nulls()
        if len(at_edge):
            edges[label] = at_edge
        points = _points(judged.filter(group=index), _norm_limit(runs))
        if len(points):
            norms[label] = points
        if summaries[label]["train_rmse_median"].drop_nulls().len():
            errors[label] = summaries[label]
        moments = _moments(runs, trajectories)
        if len(moments):
            paths[label] = moments
    lines = {label: _lines(points, fits.filter(group=groups[label])) for label, points in norms.items()}
    drawn = {"stability": figures.stability(summaries)}
    if norms:
        drawn["norms"] = figures.norms(norms, lines)
    if edges:
        drawn["edge"] = figures.edge(edges, summaries)
    if errors:
        drawn["errors"] = figures.errors(errors)
    if paths:
        drawn["paths"] = figures.paths(paths)
    return drawn


def _names(runs: pl.DataFrame) -> dict[str, pl.Expr]:
    """Legend texts of a group, whose runs share optimizer and bias."""
    optimizer = runs["optimizer"][0]
    name = {"momentum": r"$2(1+\mu)/\eta$", "adam": r"$2/\eta$ (threshold of gd only)"}.get(optimizer, r"$2/\eta$")
    one = "1+" if runs["bias"][0] else ""
    return {
        "edge_name": pl.lit(name),
        "edge_style": pl.lit(":" if optimizer == "adam" else "--"),
        "floor_name": pl.lit(f"${one}2S$"),
        "oriented_floor_name": pl.lit(rf"${one}2\tilde{{S}}$"),
    }


def _norm_limit(runs: pl.DataFrame) -> str:
    """The limit of the norms of a group, whose runs share optimizer and bias."""
    rate = r"(1+\mu)/\eta" if runs["optimizer"][0] == "momentum" else r"1/\eta"
    half = r"-\frac{1}{2}" if runs["bias"][0] else ""
    return f"limit ${rate}{half}$"


def _points(judged: pl.DataFrame, limit_name: str) -> pl.DataFrame:
    """Covered runs as `measure, limit, value, outcome, limit_name`; what has no logarithm is not drawn."""
    drawable = (pl.col("outcome") != "not_covered") & (pl.col("limit") > 0) & (pl.col("value") > 0)
    return pl.concat(
        judged.filter(drawable, bound=name).select(
            "bound",
            "limit",
            "value",
            "outcome",
            measure=pl.lit(symbol),
            limit_name=pl.lit(limit_name),
        )
        for name, symbol in NORMS.items()
    )


def _lines(points: pl.DataFrame, fits: pl.DataFrame) -> pl.DataFrame:
    """Ends and exponents of the fitted power laws, over the range of the points that they were fitted to."""
    rows = []
    for fit in fits.filter(pl.col("slope").is_not_null(), pl.col("measure").is_in(list(NORMS))).iter_rows(named=True):
        limits = points.filter(bound=fit["measure"])["limit"].to_list()
        x0, x1 = min(limits), max(limits)
        y0, y1 = (math.exp(fit["intercept"]) * x ** fit["slope"] for x in (x0, x1))
        label = f"exponent {fit['slope']:.2f} [{fit['low']:.2f}, {fit['high']:.2f}]"
        rows.append({"measure": NORMS[fit["measure"]], "x0": x0, "y0": y0, "x1": x1, "y1": y1, "label": label})
    return pl.DataFrame(rows, schema={c: pl.String if c in ("measure", "label") else pl.Float64 for c in LINE})


def _moments(runs: pl.DataFrame, trajectories: pl.DataFrame) -> pl.DataFrame:
    """Median of λ_max η/2 over the runs still in training, for a few step sizes: `lr, edge, step, eos_ratio`."""
    rates_of_runs = runs.select("run_id", "lr", edge=EDGE)
    moments = trajectories.select("run_id", "step", "sharpness").drop_nulls().join(rates_of_runs, on="run_id")
    rates = moments["lr"].unique().sort()
    last = max(1, min(MOST_PATHS, len(rates)) - 1)
    chosen = sorted({round(i * (len(rates) - 1) / last) for i in range(last + 1)}) if len(rates) else []
    return (
        moments.filter(pl.col("lr").is_in(rates.gather(chosen).to_list()))
        .group_by("lr", "edge", "step")
        .agg(eos_ratio=(pl.col("sharpness") * pl.col("lr") / 2).median())
        .filter(pl.col("eos_ratio") > 0)
        .sort("lr", "step")
    )


LINE = ("measure", "x0", "y0", "x1", "y1", "label")
