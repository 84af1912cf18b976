"""Pairs: runs that agree in every parameter but the one that is compared, and what hangs on it."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from relusweep.analysis.group import said
from relusweep.analysis.table import extra_columns, varied
from relusweep.sweep.data import PROBLEM_KEYS
from relusweep.sweep.record import RESULTS, SCHEMAS
from relusweep.sweep.run import CONDITIONAL, Run

_FIRST = (
    "sharpness", "gn_sharpness", "eos_ratio", "oriented_stability_norm", "stability_norm", "variation_norm",
    "parameter_norm", "test_rmse", "test_sup", "dead_fraction",
)  # fmt: skip
_NUMBERS = [each.name for each in SCHEMAS["runs"] if each.name in RESULTS and each.type == "double"]
MEASURES = (*_FIRST, *(name for name in _NUMBERS if name not in _FIRST), "steps")
_SIDE = "_of_baseline"  # behind the name of a column: of the partner

# What changes with a parameter without being another choice, beside what `CONDITIONAL` says.
_ALONG: Mapping[str, tuple[str, ...]] = {
    "problem": ("d", "n", "n_test", "noise", *PROBLEM_KEYS),
    "file": ("x_columns", "y_column", "content", "d", "n", "n_test"),
    "split": ("content",),
    "target": ("target_source",),
    "inputs": ("inputs_source", "domain", "radius"),
    "domain": ("radius",),
    "bias": ("output_bias",),
}


@dataclass(frozen=True)
class Pairs:
    """Runs beside their partners.

    Attributes:
        parameter: What is compared.
        baseline: The value that all others are held against, as a reader sees it.
        rows: A row a pair: `arm` (the other value), `lr, seed, data_seed, cluster`, and `run_id, status` and every
            measure of both runs, those of the baseline's with `_of_baseline` behind the name.
        counts: A row an arm: `arm, runs, pairs, converged` (both), `budget` (none diverged, but one did not converge),
            `diverged` (one or both), `alone` (runs without a partner), `baseline_alone`.
        measures: What is compared in each pair.
    """

    parameter: str
    baseline: str
    rows: pl.DataFrame
    counts: pl.DataFrame
    measures: tuple[str, ...]

    @staticmethod
    def of(runs: pl.DataFrame, parameter: str) -> "Pairs":
        """Pair every value of a parameter with the baseline: its default if runs have it, else the least.

        What hangs on the parameter, such as `momentum` on `optimizer`, may differ in a pair; where runs of one value
        differ in it, each combination is an arm of its own.
        """
        varying = varied(runs)
        along = [name for name in _along(parameter) if name in varying]
        keys = [name for name in varying if name not in along]
        kinds = runs.select(along).unique().sort(along, nulls_last=False)
        labels = [
            ", ".join(said(name, value) for name, value in row.items() if value is not None)
            for row in kinds.iter_rows(named=True)
        ]
        place = _baseline(kinds, parameter)
        tagged = runs.join(kinds.with_columns(arm=pl.Series(labels, dtype=pl.String)), along, nulls_equal=True)
        cluster = pl.struct("seed", "data_seed").rank("dense").cast(pl.Int64)
        columns = [*dict.fromkeys([*keys, "lr", "seed", "data_seed"])]
        of_both = ["run_id", "status", *measures(runs)]
        sides = tagged.select("arm", *columns, *of_both, cluster=cluster, _one=pl.lit(0))
        first = sides.filter(arm=labels[place])
        others = sides.filter(pl.col("arm") != labels[place])
        partner = first.select(*keys, "_one", pl.col(of_both).name.suffix(_SIDE))
        rows = others.join(partner, [*keys, "_one"], nulls_equal=True, maintain_order="left").drop("_one")
        return Pairs(parameter, labels[place], rows, _counts(rows, others, len(first)), tuple(of_both[2:]))


def measures(runs: pl.DataFrame) -> list[str]:
    """Return what is compared: the measures of every row, and those numbers that `[measure] extra` asked for."""
    return [*MEASURES, *(name for name in extra_columns(runs) if runs.schema[name] == pl.Float64)]


def _along(parameter: str) -> list[str]:
    hanging = [name for name, (switch, _, _) in CONDITIONAL.items() if switch == parameter]
    return [*dict.fromkeys([parameter, *hanging, *_ALONG.get(parameter, ())])]


def _baseline(kinds: pl.DataFrame, parameter: str) -> int:
    """Return the number of the kind that others are held against."""
    default = Run.model_fields[parameter].get_default()
    values = kinds[parameter].to_list()
    return values.index(default) if default in values else 0


def of_baseline(name: str) -> str:
    """Return what a column of the partner is called."""
    return name + _SIDE


BOTH_CONVERGED = (pl.col("status") == "converged") & (pl.col("status" + _SIDE) == "converged")
ONE_DIVERGED = (pl.col("status") == "diverged") | (pl.col("status" + _SIDE) == "diverged")


def _counts(rows: pl.DataFrame, others: pl.DataFrame, baseline: int) -> pl.DataFrame:
    found = rows.group_by("arm").agg(
        pairs=pl.len(),
        converged=BOTH_CONVERGED.sum(),
        budget=(~BOTH_CONVERGED & ~ONE_DIVERGED).sum(),
        diverged=ONE_DIVERGED.sum(),
    )
    runs = others.group_by("arm").agg(runs=pl.len())
    return (
        runs.join(found, "arm", "left")
        .with_columns(pl.exclude("arm").fill_null(0).cast(pl.Int64))
        .with_columns(alone=pl.col("runs") - pl.col("pairs"), baseline_alone=baseline - pl.col("pairs"))
        .sort("arm")
    )
