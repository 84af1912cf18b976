"""Floors of the depth study: what no shallow network as flat as a run could do better on its data.

At *any* weights of a shallow ReLU network with biases S̃ ≤ λ_max/2 - ½ + ½√(1+R²) mean |r| [derived here]. So the
certified floor with slack at the budget λ_max/2 - ½ holds for every shallow run, whether or not it has settled; at a
minimum where gradient descent is stable, λ_max ≤ 2/η and the budget is at most 1/η - ½.
"""

from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
import polars as pl

from analysis.dictionary import Norm
from analysis.floor import Certificate, Floors, budget, residual_slack
from analysis.studies.depth_separation_arms import Arms
from sweep.data import DATA_KEYS, Dataset

# What a report may spend: seconds to a minute a data set. Least squares over the units grow with the samples, the
# units with the hyperplanes through d of them.
MOST_SAMPLES = 130
MOST_HYPERPLANES = 50_000
MOST_SETS = 9
MOST_STEP_SIZES = 4  # at which a floor is computed; its certificate holds at every other step size too
FROM = 0.5  # smaller steps have no floor above 0 on data that a report can afford
FEW_HYPERPLANES = 10_000  # up to here all norms are computed
ERRORS = (0.3, 0.1, 0.03)
_NORMS: dict[Norm, str] = {"stability": "S", "oriented_stability": "S̃", "sufficient": "S_G"}
_ROUNDING = 1e-6  # relative, of λ_max


def with_floors(found: Arms) -> tuple[Arms, pl.DataFrame, str]:
    """Add floors of the root mean square error to the runs, where they can be had.

    Returns:
        The arms, whose runs have `floor_rmse` and `floor_loss` (½ floor²; of a minimum that is stable at the run's
        step size, for gd and sgd) and `own_floor` (at the run's own sharpness; null where none can be had); the table
        of floors, a row a data set and step size; and a sentence that says where they cannot be had.
    """
    runs = found.runs
    subjects = runs.filter(pl.col("arm") == "shallow", pl.col("activation") == "relu", pl.col("bias"))
    sizes = subjects.group_by(DATA_KEYS).agg(
        rates=pl.col("lr").filter(pl.col("lr") < 2).unique().sort(), runs=pl.len().cast(pl.Int64)
    )
    affordable = _cheapest(sizes, found)
    rows, columns = [], []
    for row in affordable:
        data = found.data[_key(row)]
        floors, proofs = _proofs(data, row["rates"])
        rows += [{name: row[name] for name in _NAMES} | floor for floor in floors]
        columns.append(_of_runs(subjects.filter(_is(row)), data, proofs))
    schema = {"run_id": pl.String, "floor_rmse": pl.Float64, "own_floor": pl.Float64}
    floors = pl.concat(columns) if columns else pl.DataFrame(schema=schema)
    joined = runs.join(floors, on="run_id", how="left", maintain_order="left").with_columns(
        floor_loss=pl.col("floor_rmse") ** 2 / 2
    )
    covered = sum(row["runs"] for row in affordable)
    where = "; ".join(
        ", ".join(f"{name} {row[name]}" for name in _NAMES if row[name] is not None) for row in affordable
    )
    note = (
        f"Floors were computed for {len(affordable)} of {len(sizes)} data sets ({where or 'none'}), which {covered} of "
        f"{len(subjects)} shallow runs share: at most {MOST_SETS}, of up to {MOST_SAMPLES} samples with up to "
        f"{MOST_HYPERPLANES} hyperplanes through d of them. Elsewhere nothing is claimed of a floor."
    )
    return replace(found, grouping=replace(found.grouping, runs=joined)), pl.DataFrame(rows, schema=FLOOR_SCHEMA), note


def needed(found: Arms) -> pl.DataFrame:
    """Compute what norm a shallow network needs for an error, in the three norms, on the first of the affordable data.

    A stable minimum with sup-error ε has S ≤ S̃ ≤ 1/η - ½ + slack · ε. So beyond `largest_lr`, which is
    1/(lower + ½ - slack · ε), there is none, whatever the width. With S_G ≤ 1/η - ½ a function has a stable
    implementation for its own values as labels: up to `reached_lr` = 1/(upper + ½).

    Returns:
        A row a data set, norm and error: the data's names, `norm, error, lower, upper, largest_lr, reached_lr`.
    """
    shallow = found.runs.filter(pl.col("arm") == "shallow")
    sets = _cheapest(shallow.select(DATA_KEYS).unique(), found)
    rows = []
    for row in [row for row in sets if comb(row["n"], row["d"]) <= FEW_HYPERPLANES]:
        data = found.data[_key(row)]
        slack = residual_slack(data.x)
        for norm, name in _NORMS.items():
            floors = Floors(data.x, data.y, norm)
            for error in ERRORS:
                least = floors.least_norm(error)
                room = least.lower + 0.5 - slack * error
                lrs = {"largest_lr": min(2.0, 1 / room) if room > 0 else 2.0, "reached_lr": None}
                if norm == "sufficient":
                    lrs = {"largest_lr": None, "reached_lr": 1 / (least.upper + 0.5)}
                values = {"norm": name, "error": error, "lower": least.lower, "upper": least.upper}
                rows.append({key: row[key] for key in _NAMES} | values | lrs)
    return pl.DataFrame(rows, schema=NEEDED_SCHEMA)


def _cheapest(sets: pl.DataFrame, found: Arms) -> list[dict[str, Any]]:
    """Choose the data sets that a report can afford: pyramids first, then by data seed and size."""
    return sorted(
        (row for row in sets.sort(DATA_KEYS).iter_rows(named=True) if _key(row) in found.data and _affordable(row)),
        key=lambda row: (row["problem"] != "pyramid", row["data_seed"], comb(row["n"], row["d"])),
    )[:MOST_SETS]


def _key(row: dict[str, object]) -> tuple[object, ...]:
    return tuple(row[key] for key in DATA_KEYS)


def _is(row: dict[str, object]) -> pl.Expr:
    return pl.all_horizontal(pl.col(key).eq_missing(pl.lit(row[key])) for key in DATA_KEYS)


def _affordable(row: dict[str, int]) -> bool:
    return row["n"] <= MOST_SAMPLES and comb(row["n"], row["d"]) <= MOST_HYPERPLANES


def _proofs(data: Dataset, rates: list[float]) -> tuple[list[dict[str, float]], list[Certificate]]:
    """Compute the floors at a few of the step sizes, as rows and as certificates."""
    large = [lr for lr in rates if lr >= FROM]
    last = max(1, min(MOST_STEP_SIZES, len(large)) - 1)
    chosen = sorted({round(i * (len(large) - 1) / last) for i in range(last + 1)}) if large else []
    floors, slack = Floors(data.x, data.y, "oriented_stability"), residual_slack(data.x)
    rows, proofs = [], []
    for lr in (large[index] for index in chosen):
        found = floors.least_error(budget(lr), slack, "rms")
        proofs.append(found.certificate)
        rows.append({
            "lr": lr, "budget": budget(lr), "slack": slack, "floor_rmse": found.lower, "reached_rmse": found.upper,
            "gap": found.gap, "constant_rmse": float(np.std(data.y)),
        })  # fmt: skip
    return rows, proofs


def _of_runs(runs: pl.DataFrame, data: Dataset, proofs: list[Certificate]) -> pl.DataFrame:
    slack = residual_slack(data.x)

    def best(norm: float) -> float:
        """Every certificate holds at every budget; the largest floor counts."""
        return max((proof.least_error(norm, slack, "rms") for proof in proofs), default=0.0)

    at_step = {lr: best(budget(lr)) for lr in runs["lr"].unique() if lr < 2}
    own = [
        None if sharpness is None else best(max(0.0, sharpness * (1 + _ROUNDING) / 2 - 0.5))
        for sharpness in runs["sharpness"]
    ]
    # 2/η is the edge of plain steps on the loss alone
    plain = pl.col("optimizer").is_in(["gd", "sgd"]) & (pl.col("lr_ratio") == 1) & (pl.col("weight_decay") == 0)
    return runs.select(
        "run_id",
        floor_rmse=pl.when(plain).then(pl.col("lr").replace_strict(at_step, default=None, return_dtype=pl.Float64)),
        own_floor=pl.Series(own, dtype=pl.Float64),
    )


_NAMES = ("problem", "d", "n", "bandwidth", "data_seed")
FLOOR_SCHEMA = {
    "problem": pl.String, "bandwidth": pl.Float64, "d": pl.Int64, "n": pl.Int64, "data_seed": pl.Int64,
    "lr": pl.Float64, "budget": pl.Float64, "slack": pl.Float64, "floor_rmse": pl.Float64,
    "reached_rmse": pl.Float64, "gap": pl.Float64, "constant_rmse": pl.Float64,
}  # fmt: skip
NEEDED_SCHEMA = {
    "problem": pl.String, "bandwidth": pl.Float64, "d": pl.Int64, "n": pl.Int64, "data_seed": pl.Int64,
    "norm": pl.String, "error": pl.Float64, "lower": pl.Float64, "upper": pl.Float64, "largest_lr": pl.Float64,
    "reached_lr": pl.Float64,
}  # fmt: skip
