"""Stability: which minima does gradient descent of step size η converge to?

The sharpness, 2/η, 1+2S and 1+2S̃ against η; three necessary conditions checked on every
converged run; how tight they are; and the exponent with which S follows its limit.
"""

import polars as pl

from relusweep.analysis.bounds import BOUNDS, OUTPUT_BIAS, check_chain, judge
from relusweep.analysis.fit import Fit, fit_power
from relusweep.analysis.group import Grouping, group, summarise
from relusweep.analysis.studies.stability.captions import GLOSSARY, SHOWN
from relusweep.analysis.studies.stability.figures import MOST_PANELS, draw
from relusweep.analysis.studies.stability.verdicts import coverage, verdicts
from relusweep.analysis.study import Study, StudyResult
from relusweep.analysis.table import Table

TIGHTNESS = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}
MEASURES = [
    "sharpness", "eos_ratio", "stability_norm", "oriented_stability_norm", "sharpness_floor",
    "oriented_sharpness_floor", "train_rmse", "test_rmse",
]  # fmt: skip


def answer(table: Table) -> StudyResult:
    """Return the tables, figures and verdicts of a table of runs."""
    one = OUTPUT_BIAS.cast(pl.Float64)
    grouping = group(
        table.runs.with_columns(
            sharpness_floor=one + 2 * pl.col("stability_norm"),
            oriented_sharpness_floor=one + 2 * pl.col("oriented_stability_norm"),
        )
    )
    runs = grouping.runs
    tags = runs.select("run_id", "group").join(
        grouping.groups.select("group", "label"), on="group", maintain_order="left"
    )
    bounds = [bound.spoken_of(runs) for bound in BOUNDS.values()]
    judged = pl.concat(
        judge(runs, bound).join(tags, on="run_id", how="left", maintain_order="left") for bound in bounds
    )
    summary = summarise(grouping, MEASURES)
    fits = fit_exponents(grouping, judged)
    not_covered = (
        judged.filter(outcome="not_covered")
        .group_by("bound", "reason", maintain_order=True)
        .agg(runs=pl.len().cast(pl.Int64))
        .sort("bound", "runs", "reason", descending=[False, True, False])
    )
    chain = check_chain(runs)
    by_outcome = {
        outcome: judged.filter(outcome=outcome).drop("outcome", "reason", "group")
        for outcome in ("violates", "on_kinks")
    }
    tables = {
        "checks": tabulate_checks(judged, len(grouping.groups)),
        "violations": by_outcome["violates"],
        "on_kinks": by_outcome["on_kinks"],
        "not_covered": not_covered,
        "fits": fits,
        "chain": chain,
        "summary": summary,
        "groups": grouping.groups,
    }
    notes = coverage(bounds, runs, summary, not_covered)
    left_out = len(grouping.groups) - MOST_PANELS
    if left_out > 0:
        notes.append(
            f"Figures show the {MOST_PANELS} groups with most converged runs; {left_out} more are in the tables."
        )
    return StudyResult(
        verdicts=verdicts(bounds, judged, fits, chain),
        tables=tables,
        figures=draw(grouping, judged, summary, fits, table.trajectories),
        bounds=bounds,
        notes=notes,
    )


def tabulate_checks(judged: pl.DataFrame, groups: int) -> pl.DataFrame:
    """Count outcomes and take quantiles of value/limit, a row a bound; where there are several groups, also each.

    `applicable = holds + on_kinks + violates`; quantiles are over the applicable runs, null without any.
    """
    covered = pl.col("outcome") != "not_covered"
    columns = [
        pl.len().cast(pl.Int64).alias("runs"),
        covered.sum().cast(pl.Int64).alias("applicable"),
        *((pl.col("outcome") == name).sum().cast(pl.Int64).alias(name) for name in ("holds", "on_kinks", "violates")),
        *(pl.col("ratio").filter(covered).quantile(q, "linear").alias(f"tightness_{n}") for n, q in TIGHTNESS.items()),
    ]
    whole = judged.group_by("bound", maintain_order=True).agg(*columns)
    whole = whole.select("bound", pl.lit("all runs").alias("label"), pl.exclude("bound"))
    if groups == 1:
        return whole
    each = judged.group_by("bound", "group", "label", maintain_order=True).agg(*columns).sort("bound", "group")
    return pl.concat([whole, each.drop("group")])


def fit_exponents(grouping: Grouping, judged: pl.DataFrame) -> pl.DataFrame:
    """Fit value ∝ limit^slope to the covered runs of every group and bound.

    Runs of one seed pair (seed, data_seed) share their initial weights and data across step sizes: they are a cluster.

    Returns:
        A row a group and bound: `group, label, measure, slope, low, high, level, n, clusters, seeds, data_seeds,
        dropped, r2, intercept, note`; `seeds` and `data_seeds` are how many different ones the clusters are made of,
        `note` says why there is no fit.
    """
    needed = judged.select("group", "bound", "run_id", "limit", "value", "seed", "data_seed", "outcome")
    covered = needed.filter(pl.col("outcome") != "not_covered").with_columns(
        cluster=pl.struct("seed", "data_seed").rank("dense")
    )
    parts = dict(covered.group_by("group", "bound"))
    nothing = covered.clear()
    rows = []
    for (index, label), name in ((g, b) for g in grouping.groups.select("group", "label").rows() for b in BOUNDS):
        part = parts.get((index, name), nothing).sort("run_id")
        fit = fit_power(part["limit"].to_numpy(), part["value"].to_numpy(), part["cluster"].to_numpy())
        fitted = part.filter(pl.col("limit") > 0, pl.col("value") > 0)
        counts = {"seeds": fitted["seed"].n_unique(), "data_seeds": fitted["data_seed"].n_unique()}
        row = {"group": index, "label": label, "measure": name} | counts
        rows.append(row | (vars(fit) if isinstance(fit, Fit) else {"note": fit.reason}))
    return pl.DataFrame(rows, schema=FIT_SCHEMA)


FIT_SCHEMA = {
    "group": pl.Int64, "label": pl.String, "measure": pl.String, "slope": pl.Float64, "low": pl.Float64,
    "high": pl.Float64, "level": pl.Float64, "n": pl.Int64, "clusters": pl.Int64, "seeds": pl.Int64,
    "data_seeds": pl.Int64, "dropped": pl.Int64,
    "r2": pl.Float64, "intercept": pl.Float64, "note": pl.String,
}  # fmt: skip


STUDY = Study(
    answer,
    moments=("sharpness",),
    title="Stability of minima",
    question="Which minima can gradient descent with step size η converge to?",
    shown=SHOWN,
    glossary=GLOSSARY,
)
