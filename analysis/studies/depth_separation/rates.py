"""Rates of the depth study: how errors and norms grow with sample size, dimension and width."""

import polars as pl

from relusweep.analysis.fit import LEAST_CLUSTERS, Fit, fit_power
from relusweep.analysis.group import Grouping

RATED = (
    "tail_loss", "relative_test", "test_sup", "sharpness", "stability_norm", "oriented_stability_norm",
    "variation_norm", "active_fraction",
)  # fmt: skip


def rates(runs: pl.DataFrame, grouping: Grouping) -> pl.DataFrame:
    """Fit error ∝ n^slope, d^slope and width^slope, each with all else fixed, step size included.

    Training losses are fitted as they stand, those at the tolerance too. Clusters are pairs of seed and data seed, as
    if pairs on one data set were independent; with three data seeds or more they are the data seeds.
    """
    varying = [name for name in grouping.groups.columns if name not in ("group", "label", "runs")]
    rows = []
    follows = {"n": (), "d": ("radius", "shape"), "width": ("shape",)}  # what changes along with it
    for axis, along in follows.items():
        fixed = [name for name in (*varying, "arm", "shape", "lr") if name not in (axis, *along)]
        if runs[axis].n_unique() < 3:
            continue
        chosen = runs if axis == "n" else runs.filter(arm="shallow")
        if axis == "d":
            fixed.append("width")
        for key, part in chosen.group_by(fixed, maintain_order=True):
            if part[axis].n_unique() < 3:
                continue
            what = ", ".join(
                f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}"
                for k, v in zip(fixed, key, strict=True)
                if v is not None
            )
            seeds, data_seeds = part["seed"].n_unique(), part["data_seed"].n_unique()
            drawn = pl.col("data_seed") if data_seeds >= LEAST_CLUSTERS else pl.struct("seed", "data_seed")
            cluster = part.select(drawn.rank("dense")).to_series().to_numpy()
            for measure in RATED:
                if part[measure].null_count() == len(part):
                    continue
                fit = fit_power(part[axis].to_numpy(), part[measure].to_numpy(), cluster)
                row = {"label": what, "measure": measure, "against": axis, "seeds": seeds, "data_seeds": data_seeds}
                rows.append(row | (vars(fit) if isinstance(fit, Fit) else {"note": fit.reason}))
    return pl.DataFrame(rows, schema=RATE_SCHEMA).sort("against", "measure", "label")


RATE_SCHEMA = {
    "against": pl.String, "measure": pl.String, "label": pl.String, "slope": pl.Float64, "low": pl.Float64,
    "high": pl.Float64, "level": pl.Float64, "n": pl.Int64, "clusters": pl.Int64, "seeds": pl.Int64,
    "data_seeds": pl.Int64, "dropped": pl.Int64,
    "r2": pl.Float64, "intercept": pl.Float64, "note": pl.String,
}  # fmt: skip
