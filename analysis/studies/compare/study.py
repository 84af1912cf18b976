"""Compare: what does one parameter change, all else equal?

Runs that agree in everything else are pairs, seed by seed. Differences and ratios of their measures, with intervals
that know which pairs share their seeds; and which runs had no partner, or none that converged.
"""

import math

import polars as pl

from relusweep.analysis.fit import Mean, clustered_mean
from relusweep.analysis.studies.compare.captions import GLOSSARY, SHOWN
from relusweep.analysis.studies.compare.figures import draw
from relusweep.analysis.studies.compare.pairs import BOTH_CONVERGED, Pairs, of_baseline
from relusweep.analysis.studies.compare.verdicts import verdicts
from relusweep.analysis.study import Study, StudyResult
from relusweep.analysis.table import Table, TableError, varied

DIFFERENCE = {
    "arm": pl.String, "baseline": pl.String, "measure": pl.String, "pairs": pl.Int64, "clusters": pl.Int64,
    "difference": pl.Float64, "difference_low": pl.Float64, "difference_high": pl.Float64, "ratio": pl.Float64,
    "ratio_low": pl.Float64, "ratio_high": pl.Float64, "larger": pl.Float64, "note": pl.String,
}  # fmt: skip


def answer(table: Table) -> StudyResult:
    """Return what the parameter changes that `table.compare` names.

    Raises:
        TableError: if none is named, or all runs agree in it.
    """
    if table.compare is None:
        raise TableError(
            "study = 'compare': no parameter is named; expected one. Write [compare] parameter = \"optimizer\" in the "
            "spec, or add --compare optimizer."
        )
    if table.compare not in varied(table.runs):
        (value,) = table.runs[table.compare].unique()
        raise TableError(
            f"compare: {table.compare} = {value!r} in all {len(table.runs)} runs; expected two values or more. "
            "Name another parameter, or report several stores together."
        )
    pairs = Pairs.of(table.runs, table.compare)
    both = pairs.rows.filter(BOTH_CONVERGED)
    differences = differences_of(pairs, both, [])
    by_lr = differences_of(pairs, both, ["lr"]) if both["lr"].n_unique() > 1 else None
    return StudyResult(
        verdicts=verdicts(pairs, differences),
        tables={"differences": differences, "pairing": pairs.counts}
        | ({} if by_lr is None else {"differences_by_lr": by_lr}),
        figures=draw(pairs, by_lr),
        notes=notes(pairs),
    )


def differences_of(pairs: Pairs, both: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Average differences and logarithms of ratios, arm by arm and measure by measure.

    Args:
        pairs: All of them.
        both: Those of which both runs converged.
        by: Further columns that split them.

    Returns:
        Rows of `DIFFERENCE`, with the columns of `by` behind `baseline`.
    """
    groups = both.sort("arm", *by, "run_id").group_by(["arm", *by], maintain_order=True)
    rows = [
        dict(zip(["arm", *by], key, strict=True)) | _row(pairs, group, measure)
        for key, group in groups
        for measure in pairs.measures
    ]
    kept = {name: both.schema[name] for name in by}
    head = {name: DIFFERENCE[name] for name in ("arm", "baseline")}
    return pl.DataFrame(rows, schema=head | kept | DIFFERENCE, orient="row")


def _row(pairs: Pairs, group: pl.DataFrame, measure: str) -> dict[str, object]:
    sides = pl.col(measure, of_baseline(measure)).cast(pl.Float64)
    used = group.filter(pl.all_horizontal(sides.is_finite().fill_null(False)))
    mine, other = (used[name].cast(pl.Float64).to_numpy() for name in (measure, of_baseline(measure)))
    row: dict[str, object] = {"baseline": pairs.baseline, "measure": measure, "pairs": len(used)}
    if not len(used):
        return row | {"note": "not recorded of both"}
    row["larger"] = float((mine > other).mean())
    mean = clustered_mean(mine - other, used["cluster"].to_numpy())
    if not isinstance(mean, Mean):
        return row | {"clusters": used["cluster"].n_unique(), "note": mean.reason}
    row |= {
        "clusters": mean.clusters,
        "difference": mean.value,
        "difference_low": mean.low,
        "difference_high": mean.high,
    }
    positive = (mine > 0) & (other > 0)
    if not positive.all():
        return row | {"note": "no ratio: some are 0"}
    ratio = clustered_mean([math.log(a / b) for a, b in zip(mine, other, strict=True)], used["cluster"].to_numpy())
    assert isinstance(ratio, Mean), "as many clusters as for the difference"
    ends = {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high}
    return row | {name: math.exp(value) for name, value in ends.items()}


def notes(pairs: Pairs) -> list[str]:
    """Return what a reader has to bear in mind."""
    said = ["Intervals are at 95 % each: of many comparisons some exclude 0 by chance."]
    if pairs.rows.is_empty():
        said.insert(0, f"No two runs differ in {pairs.parameter} alone.")
    return said


STUDY = Study(
    answer,
    moments=(),
    title="A comparison, pair by pair",
    question="What does one parameter change, all else equal?",
    shown=SHOWN,
    glossary=GLOSSARY,
)
