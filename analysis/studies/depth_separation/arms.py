"""Arms of the depth study: which runs are compared with which, and what a run has reached.

A *setting* is all that runs share but depth, widths, step size and seeds. In a setting each network's shape is an
*arm*: shallow (one hidden layer), deep (two), frozen (two, of which the second stays as it was drawn). The witness,
deep networks that start at the solution, is no arm of any setting.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from relusweep.analysis.bounds import OUTPUT_BIAS
from relusweep.analysis.group import WITHIN, Grouping, group
from relusweep.sweep.data import DATA_KEYS, Array, DataError, Dataset, dataset
from relusweep.sweep.spec import TAIL

FITS = 0.02  # of the loss of the best constant: at most this, and a network has learnt the target
SHAPE = ("depth", "width", "width2")
SMALLER = 1.1  # parameters differ by at most this factor: as many


@dataclass(frozen=True)
class Arms:
    """The runs with columns of their own, and the settings.

    Runs have besides those of the record `arm` and `shape` (its name with widths), `parameters` (how many),
    `tail_loss`, `tail_moments`, `relative_loss` (over `constant_loss`, that of the best constant), `relative_test`
    (`test_rmse` over that of the best constant) and `fits`; `witness` holds those that started at the solution.
    """

    grouping: Grouping
    witness: pl.DataFrame
    data: dict[tuple[object, ...], Dataset]

    @property
    def runs(self) -> pl.DataFrame:
        """The runs of all settings."""
        return self.grouping.runs


def arms(runs: pl.DataFrame, trajectories: pl.DataFrame) -> Arms:
    """Sort runs into settings and arms, draw their data anew, and compute what they have reached.

    Args:
        runs: Rows of `sweep.record`, with the loss (1/2n) Σ r².
        trajectories: Moments with `run_id, step, loss`, possibly none.
    """
    data = {key: _drawn(key) for key in runs.select(DATA_KEYS).unique().sort(DATA_KEYS).rows()}
    constants = [
        (
            *key,
            float(np.var(drawn.y) / 2) if _vary(drawn.y) else None,
            float(np.std(drawn.y_test)) if _vary(drawn.y_test) else None,
        )
        for key, drawn in data.items()
        if drawn is not None
    ]
    schema = {key: runs.schema[key] for key in DATA_KEYS} | {"constant_loss": pl.Float64, "constant_test": pl.Float64}
    baselines = pl.DataFrame(constants, schema=schema, orient="row")
    d, width, width2 = pl.col("d"), pl.col("width"), pl.col("width2")
    biases, output = pl.col("bias").cast(pl.Int64), OUTPUT_BIAS.cast(pl.Int64)
    one = width * (d + 1 + biases) + output
    two = width * (d + biases) + width2 * (width + 1 + biases) + output
    arm = (
        pl.when(depth=1).then(pl.lit("shallow")).when(lr_ratio=0).then(pl.lit("frozen")).otherwise(pl.lit("deep"))
    )  # fmt: skip
    found = (
        _averaged(runs, trajectories)
        .join(baselines, on=DATA_KEYS, how="left", nulls_equal=True, maintain_order="left")
        .with_columns(
            arm=pl.when(init="witness").then(pl.lit("witness")).otherwise(arm),
            parameters=pl.when(depth=1).then(one).otherwise(two),
            relative_loss=pl.col("tail_loss") / pl.col("constant_loss"),
            relative_test=pl.col("test_rmse") / pl.col("constant_test"),
            active_fraction=1 - pl.col("dead_fraction"),
        )
        .with_columns(
            shape=pl.concat_str("arm", "width", "width2", separator=" ", ignore_nulls=True),
            fits=(pl.col("relative_loss") <= FITS).fill_null(False),
        )
    )
    # a frozen layer is what tells two arms of a setting apart, not two settings
    found = found.with_columns(lr_ratio=pl.when(arm="frozen").then(1.0).otherwise("lr_ratio"))
    trained = group(found.filter(pl.col("arm") != "witness"), (*WITHIN, *SHAPE))
    known = {key: drawn for key, drawn in data.items() if drawn is not None}
    return Arms(trained, found.filter(arm="witness"), known)


def _vary(labels: Array) -> bool:
    """Return whether a constant has an error on them, of which others can be a share; not if all are equal."""
    return len(labels) > 0 and bool(np.ptp(labels) > 0)


def _drawn(key: tuple[object, ...]) -> Dataset | None:
    """Draw a data set; files of images may be elsewhere than when they were trained on."""
    try:
        return dataset(dict(zip(DATA_KEYS, key, strict=True)))
    except DataError:
        return None


def _averaged(runs: pl.DataFrame, trajectories: pl.DataFrame) -> pl.DataFrame:
    """Add `tail_loss`: the mean of the loss over the moments of the last tenth of the steps, else the last loss.

    A run that converged before has no such moments, and no need of them; one that diverged has no loss.
    """
    moments = trajectories.select("run_id", "step", moment_loss="loss").join(
        runs.select("run_id", "max_steps"), on="run_id"
    )
    late = moments.filter(pl.col("step") > (1 - TAIL) * pl.col("max_steps"))
    tails = late.group_by("run_id").agg(tail_mean=pl.col("moment_loss").mean(), tail_moments=pl.len().cast(pl.Int64))
    diverged = pl.col("status") == "diverged"
    return (
        runs.join(tails, on="run_id", how="left", maintain_order="left")
        .with_columns(
            tail_moments=pl.col("tail_moments").fill_null(0),
            tail_loss=pl.when(~diverged).then(pl.coalesce("tail_mean", "loss")),
        )
        .drop("tail_mean")
    )


MEASURES = (
    "relative_loss", "tail_loss", "test_rmse", "relative_test", "test_sup", "sharpness", "eos_ratio", "stability_norm",
    "oriented_stability_norm", "variation_norm", "active_fraction",
)  # fmt: skip


def summarise(grouping: Grouping) -> pl.DataFrame:
    """Summarise each arm of each setting at each step size: counts, share that fits, quantiles.

    The quantiles are over all runs that did not diverge: at the edge of stability, of which we speak here, few settle.
    `relative_floor` is the least of the data sets' floors over the loss of the best constant; null where one has none.
    """
    quantiles = [
        pl.col(measure).quantile(q, "linear").alias(f"{measure}_{name}")
        for measure in MEASURES
        for name, q in (("q10", 0.1), ("median", 0.5), ("q90", 0.9))
    ]
    counts = [
        (pl.col("status") == status).sum().cast(pl.Int64).alias(status)
        for status in ("converged", "budget", "diverged")
    ]
    table = grouping.runs.group_by("group", "arm", "shape", "lr").agg(
        pl.col("parameters").first(),
        pl.len().cast(pl.Int64).alias("runs"),
        *counts,
        pl.col("fits").mean(),
        pl.col("tail_moments").max(),
        pl.col("constant_loss").median(),
        *quantiles,
        relative_floor=pl.when(pl.col("floor_loss").is_not_null().all()).then(
            (pl.col("floor_loss") / pl.col("constant_loss")).min()
        ),
    )
    labels = grouping.groups.select("group", "label")
    return labels.join(table, on="group").sort("group", "arm", "parameters", "lr")


def largest(runs: pl.DataFrame) -> pl.DataFrame:
    """Return of the deep runs of each setting those of the arm with most parameters, with which others are compared."""
    deep = runs.filter(arm="deep").sort("parameters", "shape", descending=True)
    return deep.filter(pl.col("shape") == pl.col("shape").first().over("group"))


def pairs(runs: pl.DataFrame) -> pl.DataFrame:
    """Set shallow and frozen runs beside the deep one of the same setting, step size, seed and data seed.

    A row: `group, arm, shape, deep_shape, parameters,
    deep_parameters, lr, seed, data_seed, fits, deep_fits, relative_loss, deep_relative_loss, separated, forbidden`:
    separated where the deep network fits and this one does not, forbidden where by the certified floor no shallow
    network fits at a twice differentiable minimum that is stable at this step size.
    """
    columns = ["shape", "parameters", "fits", "relative_loss"]
    keys = ["group", "lr", "seed", "data_seed"]
    beside = largest(runs).select(*keys, pl.col(columns).name.prefix("deep_"))
    others = runs.filter(pl.col("arm") != "deep")
    forbidden = (pl.col("floor_loss") > FITS * pl.col("constant_loss")).fill_null(False)  # where both are known
    others = others.select(*keys, "arm", *columns, forbidden=forbidden & (pl.col("arm") == "shallow"))
    return others.join(beside, on=keys).with_columns(separated=pl.col("deep_fits") & ~pl.col("fits"))
