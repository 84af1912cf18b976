"""Panels of the stability study: what each figure is given, aggregated and named."""

import math

import polars as pl

from relusweep.analysis.bounds import EDGE, OUTPUT_BIAS
from relusweep.analysis.group import evenly

MOST_PATHS = 6  # step sizes whose trajectories are drawn
NORMS = {"oriented_stability_norm": r"$\tilde{S}$", "stability_norm": "$S$"}  # in the order in which they are drawn
LINE = ("measure", "x0", "y0", "x1", "y1", "label")


# What η is divided by to be the step size of gradient descent with the same threshold of stability, where it is known.
_FACTORS = {"gd": "", "sgd": "", "momentum": r"(1+\mu)", "nesterov": r"\frac{1+\mu}{1+2\mu}"}
THRESHOLDS = {rule: rf"$2{factor}/\eta$" for rule, factor in _FACTORS.items()}


def names(runs: pl.DataFrame) -> dict[str, pl.Expr]:
    """Return the legend texts of a group, whose runs share optimizer and bias."""
    optimizer = runs["optimizer"][0]
    name = THRESHOLDS.get(optimizer, r"$2/\eta$ (threshold of gd only)")
    one = "1+" if runs.select(OUTPUT_BIAS).item(0, 0) else ""
    return {
        "edge_name": pl.lit(name),
        "edge_style": pl.lit("--" if optimizer in THRESHOLDS else ":"),
        "norm_name": pl.lit(f"${one}2S$"),
        "oriented_norm_name": pl.lit(rf"${one}2\tilde{{S}}$"),
    }


def norm_limit(runs: pl.DataFrame) -> str:
    """Return the limit of the norms of a group, whose runs share optimizer and bias."""
    rate = (_FACTORS.get(runs["optimizer"][0]) or "1") + r"/\eta"
    half = r"-\frac{1}{2}" if runs.select(OUTPUT_BIAS).item(0, 0) else ""
    return f"limit ${rate}{half}$"


def points(judged: pl.DataFrame, limit_name: str) -> pl.DataFrame:
    """Return the covered runs as `measure, limit, value, outcome, limit_name`; what has no logarithm is not drawn."""
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


def lines(points: pl.DataFrame, fits: pl.DataFrame) -> pl.DataFrame:
    """Return ends and exponents of the fitted power laws, over the range of the points that they were fitted to."""
    rows = []
    for fit in fits.filter(pl.col("slope").is_not_null(), pl.col("measure").is_in(list(NORMS))).iter_rows(named=True):
        limits = points.filter(bound=fit["measure"])["limit"].to_list()
        x0, x1 = min(limits), max(limits)
        y0, y1 = (math.exp(fit["intercept"]) * x ** fit["slope"] for x in (x0, x1))
        label = f"exponent {fit['slope']:.2f} [{fit['low']:.2f}, {fit['high']:.2f}]"
        rows.append({"measure": NORMS[fit["measure"]], "x0": x0, "y0": y0, "x1": x1, "y1": y1, "label": label})
    return pl.DataFrame(rows, schema={c: pl.String if c in ("measure", "label") else pl.Float64 for c in LINE})


def moments(runs: pl.DataFrame, trajectories: pl.DataFrame) -> pl.DataFrame:
    """Return the median of λ_max η/2 over the runs in training, for a few step sizes: `lr, edge, step, eos_ratio`."""
    rates_of_runs = runs.select("run_id", "lr", edge=EDGE)
    moments = trajectories.select("run_id", "step", "sharpness").drop_nulls().join(rates_of_runs, on="run_id")
    chosen = evenly(moments["lr"].unique().sort().to_list(), MOST_PATHS)
    return (
        moments.filter(pl.col("lr").is_in(chosen))
        .group_by("lr", "edge", "step")
        .agg(eos_ratio=(pl.col("sharpness") * pl.col("lr") / 2).median())
        .filter(pl.col("eos_ratio") > 0)
        .sort("lr", "step")
    )
