"""Group: runs that differ in nothing but step size and seeds; and what they say together at each step size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from relusweep.analysis.bounds import GD_STEP
from relusweep.analysis.table import varied

WITHIN = ("lr", "seed", "data_seed")  # what may vary inside a group
MOST_STEP_SIZES = 60  # more than this (random sweeps) are pooled into bins
BINS = 30
QUANTILES = {"q10": 0.1, "median": 0.5, "q90": 0.9}


@dataclass(frozen=True)
class Grouping:
    """Runs with a column `group` (int), and one row a group: `group, label`, its runs, and all that varies between."""

    runs: pl.DataFrame
    groups: pl.DataFrame

    def label(self, group: int) -> str:
        """Return what tells this group from the others, for a reader."""
        return self.groups["label"][group]


def group(runs: pl.DataFrame, within: tuple[str, ...] = WITHIN) -> Grouping:
    """Split runs by every parameter that varies, except those of `within`; groups are sorted by parameter.

    A label names only the parameters that are needed to tell the groups apart, taken greedily in the order of
    the columns: where `problem` differs, so do `n` and `radius`, and they need no mention.
    """
    varying = [name for name in varied(runs) if name not in within]
    if not varying:
        groups = pl.DataFrame({"group": [0], "label": ["all runs"], "runs": [len(runs)]})
        return Grouping(runs.with_columns(group=pl.lit(0, pl.Int64)), groups)
    groups = runs.group_by(varying).len("runs").sort(varying).with_row_index("group").cast({"group": pl.Int64})
    naming: list[str] = []
    for name in varying:
        distinct = groups.select(naming).n_unique() if naming else 1
        if groups.select([*naming, name]).n_unique() > distinct:
            naming.append(name)
    labels = [
        ", ".join(said(name, value) for name, value in row.items() if value is not None)
        for row in groups.select(naming).iter_rows(named=True)
    ]
    tagged = runs.join(
        groups.select("group", *varying), on=varying, how="left", nulls_equal=True, maintain_order="left"
    )
    named = groups.with_columns(label=pl.Series(labels, dtype=pl.String)).select("group", "label", "runs", *varying)
    return Grouping(tagged, named)


def said(name: str, value: object) -> str:
    """Return a parameter and its value for a reader."""
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {value:.12g}" if isinstance(value, float) else f"{name} {value}"


def bin_step_sizes(runs: pl.DataFrame) -> pl.DataFrame:
    """Add `step_size`: lr itself, or, in a group with very many, the median lr of a log-spaced bin.

    A random sweep draws every lr anew, so that no two runs would share a median.
    """
    counts = runs.group_by("group").agg(pl.col("lr").n_unique().alias("_rates"))
    crowded = set(counts.filter(pl.col("_rates") > MOST_STEP_SIZES)["group"])
    if not crowded:
        return runs.with_columns(step_size=pl.col("lr"))
    log_lr = pl.col("lr").log()
    low, high = log_lr.min().over("group"), log_lr.max().over("group")
    place = ((log_lr - low) / (high - low) * BINS).floor().clip(0, BINS - 1)
    binned = runs.with_columns(_bin=pl.when(pl.col("group").is_in(crowded)).then(place).otherwise(None))
    median = pl.col("lr").median().over("group", "_bin")
    return binned.with_columns(step_size=pl.when(pl.col("_bin").is_null()).then(pl.col("lr")).otherwise(median)).drop(
        "_bin"
    )


def summarise(grouping: Grouping, measures: list[str]) -> pl.DataFrame:
    """Summarise each group at each step size.

    Args:
        grouping: Runs in groups.
        measures: Columns to take quantiles of, over the seeds of the converged runs only: elsewhere there is no
            minimum to speak of.

    Returns:
        `group, label, lr, edge` (of stability: 2/lr, with momentum μ 2(1+μ)/lr), `runs, converged, budget, diverged`,
        and for each measure its 10 %, 50 % and 90 % quantiles `*_q10, *_median, *_q90`, linearly interpolated; null
        where no run converged. Sorted.
    """
    converged = pl.col("status") == "converged"
    quantiles = [
        pl.col(measure).filter(converged).quantile(q, "linear").alias(f"{measure}_{name}")
        for measure in measures
        for name, q in QUANTILES.items()
    ]
    counts = [(pl.col("status") == status).sum().cast(pl.Int64).alias(status) for status in OUTCOMES]
    table = (
        bin_step_sizes(grouping.runs)
        .group_by("group", "step_size")
        .agg(pl.col("momentum", "optimizer").first(), pl.len().cast(pl.Int64).alias("runs"), *counts, *quantiles)
        .rename({"step_size": "lr"})
        .sort("group", "lr")
        .with_columns(edge=2 / GD_STEP)
        .drop("momentum", "optimizer")
    )
    labelled = table.join(grouping.groups.select("group", "label"), on="group", maintain_order="left")
    head = ["group", "label", "lr", "edge", "runs", *OUTCOMES]
    return labelled.select(*head, pl.exclude(head))


def evenly(values: Sequence[float], most: int) -> list[float]:
    """Return at most so many of some values, but both ends at least, evenly spaced by position."""
    last = max(1, min(most, len(values)) - 1)
    return [values[i] for i in sorted({round(i * (len(values) - 1) / last) for i in range(last + 1)})] if values else []


def shown(grouping: Grouping, most: int) -> list[int]:
    """Return the groups that figures show: those with most converged runs, in the order of the groups."""
    converged = grouping.runs.filter(pl.col("status") == "converged")["group"].to_numpy()
    counts = np.bincount(converged, minlength=len(grouping.groups))
    return sorted(int(index) for index in np.argsort(-counts, kind="stable")[:most])


OUTCOMES = ("converged", "budget", "diverged")
