"""Witness runs of the depth study: whether gradient descent stays at the deep witness, and how flat that can be."""

import numpy as np
import polars as pl

from relusweep.analysis.studies.depth_separation.arms import Arms
from relusweep.analysis.witness import Witness
from relusweep.sweep.data import DATA_KEYS

STAYED = 1e-12  # loss of a witness that has not moved by more than rounding
MARGIN = 1e-2  # a witness this near to its largest stable step is neither expected to stay nor to leave


def stay(found: Arms) -> pl.DataFrame:
    """Hold the runs that began at the witness against the step that its sharpness allows.

    Returns:
        A row a run: `run_id, d, n, data_seed, init_scale, output_scale, lr, witness_sharpness, largest_lr` (2/λ),
        `status, loss, stays` (the loss is rounding), `expected` (whether 2/λ says so; null near it, and for what is not
        gradient descent on the pyramid's own labels).
    """
    rows = []
    known: dict[tuple[object, ...], Witness] = {}
    for run in found.witness.iter_rows(named=True):
        key = tuple(run[name] for name in DATA_KEYS)
        if key not in found.data:
            continue
        witness = known.setdefault(key, Witness(found.data[key].x))
        scaling = witness.scaled(run["output_scale"], run["init_scale"])
        edge = run["lr"] / scaling.lr
        plain = run["optimizer"] == "gd" and run["lr_ratio"] == 1 and run["weight_decay"] == run["noise"] == 0
        plain &= run["schedule"] == "constant" and run["label_noise"] == 0 and run["clip"] is None
        rows.append(
            {name: run[name] for name in STAY_SCHEMA if name in run}
            | {
                "witness_sharpness": scaling.sharpness, "largest_lr": scaling.lr,
                "stays": run["loss"] is not None and run["loss"] <= STAYED,
                "expected": bool(edge < 1) if plain and abs(np.log(edge)) >= MARGIN else None,
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=STAY_SCHEMA).sort("d", "n", "init_scale", "data_seed", "lr")


def scalings(found: Arms) -> pl.DataFrame:
    """Return the witness's sharpness and largest stable step at unit and at its flattest scaling, by data.

    Returns:
        A row a law of the inputs and sample size of the pyramid, on its first data: `domain, radius, d, n, data_seed`,
        `sharpness, largest_lr` at unit scaling, and `flattest_s, flattest_a, flattest_sharpness, flattest_lr`.
    """
    law = ("domain", "d", "n", "radius")
    runs = pl.concat([found.runs.select(DATA_KEYS), found.witness.select(DATA_KEYS)]).filter(problem="pyramid")
    sets = runs.unique().sort(DATA_KEYS).unique(law, keep="first", maintain_order=True)
    rows = []
    for row in sets.sort(law).iter_rows(named=True):
        witness = Witness(found.data[tuple(row[name] for name in DATA_KEYS)].x)
        unit, best = witness.scaled(), witness.flattest()
        rows.append(
            {name: row[name] for name in (*law, "data_seed")}
            | {"sharpness": unit.sharpness, "largest_lr": unit.lr, "flattest_s": best.s, "flattest_a": best.a}
            | {"flattest_sharpness": best.sharpness, "flattest_lr": best.lr}
        )
    return pl.DataFrame(rows, schema=SCALING_SCHEMA)


STAY_SCHEMA = {
    "run_id": pl.String, "d": pl.Int64, "n": pl.Int64, "data_seed": pl.Int64, "init_scale": pl.Float64,
    "output_scale": pl.Float64, "lr": pl.Float64, "witness_sharpness": pl.Float64, "largest_lr": pl.Float64,
    "status": pl.String, "loss": pl.Float64, "stays": pl.Boolean, "expected": pl.Boolean,
}  # fmt: skip
SCALING_SCHEMA = {
    "domain": pl.String, "radius": pl.Float64, "d": pl.Int64, "n": pl.Int64, "data_seed": pl.Int64,
    "sharpness": pl.Float64, "largest_lr": pl.Float64, "flattest_s": pl.Float64, "flattest_a": pl.Float64,
    "flattest_sharpness": pl.Float64, "flattest_lr": pl.Float64,
}  # fmt: skip
