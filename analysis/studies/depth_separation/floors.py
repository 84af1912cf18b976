"""Floors of the depth study: what no shallow network as flat as a run could do better on its data.

At *any* weights of a shallow ReLU network with biases S̃ ≤ λ_max/2 - ½ + ½√(1+R²) mean |r| [derived here]. So the
certified floor with slack at the budget λ_max/2 - ½ holds for every shallow run, whether or not it has settled; at a
minimum where gradient descent is stable, λ_max ≤ 2/η and the budget is at most 1/η - ½.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import comb
from typing import TypeVar

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import track

from relusweep.analysis.bounds import OUTPUT_BIAS
from relusweep.analysis.floor import ArrangementError, Certificate, FloorError, Floors, budget, residual_slack
from relusweep.analysis.group import evenly
from relusweep.analysis.studies.depth_separation.arms import Arms
from relusweep.sweep.data import DATA_KEYS, Dataset

# What a report may spend: seconds to a minute a data set. Least squares over the units grow with the samples, the
# units with the hyperplanes through d of them.
MOST_SAMPLES = 256
MOST_HYPERPLANES = 400_000
MOST_SETS = 16
MOST_STEP_SIZES = 4  # at which a floor is computed; its certificate holds at every other step size too
Row = dict[str, str | int | float | None]
FROM = 0.5  # smaller steps have no floor above 0 on data that a report can afford
_ROUNDING = 1e-6  # relative, of λ_max


Computed = TypeVar("Computed")


@dataclass(frozen=True)
class Sample:
    """A data set of shallow runs.

    Attributes:
        key: Its parameters, those of `DATA_KEYS`: what `Arms.data` calls it.
        problem, d, n, bandwidth, data_seed: Of these the ones that name it to a reader.
        rates: Step sizes below 2 of its shallow runs, ascending.
    """

    key: tuple[object, ...]
    problem: str
    d: int
    n: int
    bandwidth: float | None
    data_seed: int
    rates: list[float]

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.names.items() if value is not None)

    @property
    def names(self) -> Row:
        """What names it in the tables, by column."""
        return {name: getattr(self, name) for name in NAMES}

    @property
    def hyperplanes(self) -> int:
        """How many pass through d of the n samples: what floors cost grows with them."""
        return comb(self.n, self.d)

    @property
    def is_affordable(self) -> bool:
        """Whether a report can afford its floors, and has step sizes for them."""
        return self.n <= MOST_SAMPLES and self.hyperplanes <= MOST_HYPERPLANES and len(chosen(self.rates)) > 0


def with_floors(found: Arms) -> tuple[Arms, pl.DataFrame, list[str]]:
    """Add floors of the root mean square error to the runs, where they can be had.

    Returns:
        The arms, whose runs have `floor_rmse` and `floor_loss` (½ floor²; of a minimum that is stable at the run's
        step size, for gd and sgd) and `own_floor` (at the run's own sharpness; null where none can be had); the table
        of floors, a row a data set and step size; and sentences that say where they cannot be had.
    """
    runs, subjects = found.runs, _subjects(found)

    def compute(sample: Sample, data: Dataset) -> tuple[Sample, list[Row], pl.DataFrame]:
        floors, proofs = _proofs(data, chosen(sample.rates))
        parameters = zip(DATA_KEYS, sample.key, strict=True)
        mine = subjects.filter(pl.all_horizontal(pl.col(name).eq_missing(pl.lit(value)) for name, value in parameters))
        return sample, [sample.names | floor for floor in floors], _of_runs(mine, data, proofs)

    results, given_up = of_each(affordable(found), found, "floor of the root mean square error", compute)
    sets, rows, columns = zip(*results, strict=True) if results else ((), (), ())
    schema = {"run_id": pl.String, "floor_rmse": pl.Float64, "own_floor": pl.Float64}
    floors = pl.concat([pl.DataFrame(schema=schema), *columns])
    joined = runs.join(floors, on="run_id", how="left", maintain_order="left").with_columns(
        floor_loss=pl.col("floor_rmse") ** 2 / 2
    )
    left = subjects.select(DATA_KEYS).n_unique() - len(sets)
    note = (
        f"Floors were computed for {len(sets)} of {subjects.select(DATA_KEYS).n_unique()} data sets "
        f"({'; '.join(map(str, sets)) or 'none'}), which {len(floors)} of {len(subjects)} shallow runs share: at "
        f"most {MOST_SETS}, of up to {MOST_SAMPLES} samples with up to {MOST_HYPERPLANES} hyperplanes through d of "
        "them, with shallow runs at step sizes from "
        f"{FROM:g} to below 2; nothing is claimed of a floor for the other {left}."
    )
    table = pl.DataFrame(list(chain.from_iterable(rows)), schema=FLOOR_SCHEMA)
    return replace(found, grouping=replace(found.grouping, runs=joined)), table, [note, *given_up]


def affordable(found: Arms) -> list[Sample]:
    """Return the data sets that a report can afford: pyramids first, then by data seed and size."""
    sizes = (
        _subjects(found)
        .group_by(DATA_KEYS)
        .agg(rates=pl.col("lr").filter(pl.col("lr") < 2).unique().sort())
        .sort(DATA_KEYS)
    )
    samples = [
        Sample(tuple(row[name] for name in DATA_KEYS), **{name: row[name] for name in (*NAMES, "rates")})
        for row in sizes.iter_rows(named=True)
    ]
    return sorted(
        (sample for sample in samples if sample.key in found.data and sample.is_affordable),
        key=lambda sample: (sample.problem != "pyramid", sample.data_seed, sample.hyperplanes),
    )[:MOST_SETS]


def chosen(rates: Sequence[float]) -> list[float]:
    """Return the step sizes at which floors are computed."""
    return evenly([lr for lr in rates if lr >= FROM], MOST_STEP_SIZES)


def of_each(
    samples: Sequence[Sample], found: Arms, what: str, compute: Callable[[Sample, Dataset], Computed]
) -> tuple[list[Computed], list[str]]:
    """Compute something of each data set; on a terminal one sees how far it is.

    Returns:
        What was computed; and a sentence for each data set with too many hyperplanes, or whose solver gave up.
    """
    results, given_up, screen = [], [], Console(stderr=True)
    for sample in track(samples, what, console=screen, transient=True, disable=not screen.is_terminal):
        try:
            results.append(compute(sample, found.data[sample.key]))
        except (FloorError, ArrangementError) as error:
            given_up.append(f"No {what} of {sample}: {error}")
    return results, given_up


def _subjects(found: Arms) -> pl.DataFrame:
    """Return the runs that floors are about."""
    return found.runs.filter(pl.col("arm") == "shallow", pl.col("activation") == "relu", OUTPUT_BIAS)


def _proofs(data: Dataset, rates: Sequence[float]) -> tuple[list[Row], list[Certificate]]:
    """Compute the floors at some step sizes, as rows and as certificates."""
    floors, slack = Floors(data.x, data.y, "oriented_stability"), residual_slack(data.x)
    rows, proofs = [], []
    for lr in rates:
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
        """Return the largest floor: every certificate holds at every budget."""
        return max(proof.least_error(norm, slack, "rms") for proof in proofs)

    at_step = {lr: best(budget(lr)) for lr in runs["lr"].unique() if lr < 2}
    own = [
        None if sharpness is None else best(max(0.0, sharpness * (1 + _ROUNDING) / 2 - 0.5))
        for sharpness in runs["sharpness"]
    ]
    # 2/η is the edge of plain steps on the loss alone
    plain = pl.col("optimizer").is_in(["gd", "sgd"]) & (pl.col("lr_ratio") == 1) & (pl.col("weight_decay") == 0)
    plain &= (pl.col("schedule") == "constant") & (pl.col("label_noise") == 0) & (pl.col("sampling") != "epoch")
    return runs.select(
        "run_id",
        floor_rmse=pl.when(plain).then(pl.col("lr").replace_strict(at_step, default=None, return_dtype=pl.Float64)),
        own_floor=pl.Series(own, dtype=pl.Float64),
    )


NAMES = ("problem", "d", "n", "bandwidth", "data_seed")
FLOOR_SCHEMA = {
    "problem": pl.String, "bandwidth": pl.Float64, "d": pl.Int64, "n": pl.Int64, "data_seed": pl.Int64,
    "lr": pl.Float64, "budget": pl.Float64, "slack": pl.Float64, "floor_rmse": pl.Float64,
    "reached_rmse": pl.Float64, "gap": pl.Float64, "constant_rmse": pl.Float64,
}  # fmt: skip
