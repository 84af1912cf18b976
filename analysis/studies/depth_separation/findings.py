"""Findings of the depth study: where shallow leaves deep, what the controls showed, how errors scale, the witness."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from relusweep.analysis.fit import LEAST_CLUSTERS, Fit, fit_power
from relusweep.analysis.group import Grouping
from relusweep.analysis.studies.depth_separation.arms import SMALLER, Arms, largest
from relusweep.analysis.witness import Witness
from relusweep.sweep.data import DATA_KEYS

LARGE = 0.8  # step sizes from here on are where separation is looked for
VANISHING = 0.1  # up to here none is expected, whatever the target
MOST = 0.5  # of the pairs whose deep network fits
FEW = 0.1
STAYED = 1e-12  # loss of a witness that has not moved by more than rounding
SMOOTH = ("bump", "sine", "affine")
_STARTS = ("init", "init_scale", "output_scale")
MARGIN = 1e-2  # a witness this near to its largest stable step is neither expected to stay nor to leave


def critical(runs: pl.DataFrame, grouping: Grouping) -> pl.DataFrame:
    """Find between which step sizes shallow leaves deep, seed by seed.

    `low` is the largest step size at which the shallow network fits, `high` the smallest one above it at which it does
    not though the deep one does: the critical step size lies between them. Failures at smaller steps than `low` do not
    count, being no matter of the step size. There is no critical one where the shallow network fits up to the largest
    step that the deep one stands; nor where it fits at none, since then it may as well lack units or steps. Where no
    deep run has the same step size, as when step sizes were refined, that with the next larger one speaks for it.
    Settings with a single step size are left out.

    Returns:
        A row a setting and shallow arm: `group, label, shape, deep_shape, pairs` (of seed and data seed), `separated`
        (those with a critical step size), `never` (the deep network fits somewhere, the shallow one nowhere), the
        medians `low, high`, the 10 and 90 % quantiles `low_q10, high_q90`, and `ratio`, the median of a seed's
        high/low: how well it is known.
    """
    pair = ["group", "seed", "data_seed"]
    one = ["group", "shape", "deep_shape", "seed", "data_seed"]
    runs = runs.filter(pl.col("lr").n_unique().over("group") > 1)
    deep = largest(runs).select(*pair, "lr", deep_shape="shape", deep_fits="fits").sort("lr")
    shallow = (
        runs.filter(arm="shallow")
        .select(*pair, "shape", "lr", "fits")
        .with_columns(low=pl.col("lr").filter(pl.col("fits")).max().over(*pair, "shape"))
        .sort("lr")
        .join_asof(deep, on="lr", by=pair, strategy="forward", check_sortedness=False)
        .drop_nulls("deep_fits")
    )
    leaves = pl.col("deep_fits") & ~pl.col("fits") & (pl.col("lr") > pl.col("low"))
    each = shallow.group_by(one).agg(
        pl.col("low").first(), pl.col("deep_fits").any(), high=pl.col("lr").filter(leaves).min()
    )
    split = pl.col("high").is_not_null()
    low, high = pl.col("low").filter(split), pl.col("high").filter(split)
    table = each.group_by("group", "shape", "deep_shape").agg(
        pairs=pl.len().cast(pl.Int64),
        separated=split.sum().cast(pl.Int64),
        never=(pl.col("deep_fits") & pl.col("low").is_null()).sum().cast(pl.Int64),
        low=low.quantile(0.5, "lower"),
        high=high.quantile(0.5, "higher"),
        low_q10=low.quantile(0.1, "lower"),
        high_q90=high.quantile(0.9, "higher"),
        ratio=(high / low).median(),
    )
    return grouping.groups.select("group", "label").join(table, on="group").sort("group", "shape")


CONTROLS = {  # name: (what is expected, whether separation is)
    "claim": ("shallow fails where deep fits", True),
    "smooth target": ("no separation", False),
    "vanishing step sizes": ("no separation", False),
    "widest networks": ("separation all the same", True),
    "equal parameters": ("separation all the same", True),
    "initial weights": ("separation all the same", True),
    "warm-up": ("separation all the same", True),
    "mini-batches": ("separation all the same", True),
    "frozen second layer": ("does depth do without training its second layer", None),
}


@dataclass(frozen=True)
class Claim:
    """What the claim is about: conditions on runs, each of which a control breaks alone, but for the last.

    The pyramid in two dimensions or more (`pyramid`) by gradient descent (`plain`), with the initial weights
    (`starts`) and the warm-up (`warm`) that most runs have, by ReLU networks with biases on noiseless labels, without
    weight decay and with one step size, on the law of inputs that most runs have (`setting`).
    """

    pyramid: pl.Expr
    plain: pl.Expr
    starts: pl.Expr
    warm: pl.Expr
    setting: pl.Expr

    @staticmethod
    def of(runs: pl.DataFrame) -> "Claim":
        """Find what most runs have."""
        return Claim(
            pyramid=(pl.col("problem") == "pyramid") & (pl.col("d") > 1),
            plain=pl.col("optimizer") == "gd",
            starts=pl.all_horizontal(pl.col(name) == _usual(runs, name) for name in _STARTS),
            warm=pl.col("warmup_steps") == _usual(runs, "warmup_steps"),
            setting=pl.all_horizontal(
                pl.col("activation") == "relu",
                "bias",
                pl.col("noise") == 0,
                pl.col("weight_decay") == 0,
                pl.col("lr_ratio") == 1,
                pl.col("domain") == _usual(runs, "domain"),
            ),
        )

    def but(self, broken: str | None = None) -> pl.Expr:
        """All conditions but one, which is not met."""
        return pl.all_horizontal(~met if name == broken else met for name, met in vars(self).items())


def _usual(runs: pl.DataFrame, name: str) -> pl.Expr:
    """What most runs on the pyramid have; null, and so equal to nothing, where there are none."""
    return pl.lit(runs.filter(problem="pyramid")[name].mode().sort().first())


def far(runs: pl.DataFrame) -> pl.Expr:
    """Tell runs that may go as far as most do at `LARGE`: lr · max_steps is as large."""
    return pl.col("lr") * pl.col("max_steps") >= LARGE * (1 - 1e-9) * _usual(runs, "max_steps")


def controls(pairs: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Count separated pairs under each control.

    Each control departs from the claim in one thing. Step sizes are those from `LARGE` on, but for vanishing ones:
    these need steps enough to get as far, since a network that is not done yet refutes nothing.

    Returns:
        A row a control, target and d: `control, problem, d, bandwidth, pairs` (of runs, at one step size each),
        `deep_fits`, `separated` (of them), `forbidden` (of these: by certificate no shallow network fits at a twice
        differentiable minimum that is stable at that step size), `forbidden_fits` (of all pairs: forbidden, and yet
        the shallow network fits), `share`, `expected`, `outcome` (as expected, refuted, mixed, or open where no
        deep network fits).
    """
    told, claim = _told(pairs, runs), Claim.of(runs)
    large, shallow = pl.col("lr") >= LARGE, pl.col("arm") == "shallow"
    ratio = pl.col("parameters") / pl.col("deep_parameters")
    conditions = {
        "claim": claim.but() & large & shallow,
        "smooth target": claim.but("pyramid") & pl.col("problem").is_in(SMOOTH) & large & shallow,
        "vanishing step sizes": claim.but() & (pl.col("lr") <= VANISHING) & far(runs) & shallow,
        "widest networks": claim.but() & large & WIDEST,
        "equal parameters": claim.but() & large & shallow & ratio.is_between(1 / SMALLER, SMALLER),
        "initial weights": claim.but("starts") & large & shallow,
        "warm-up": claim.but("warm") & large & shallow,
        "mini-batches": claim.but("plain") & (pl.col("optimizer") == "sgd") & large & shallow,
        "frozen second layer": claim.but() & large & (pl.col("arm") == "frozen"),
    }
    counted = [
        told.filter(condition).group_by("problem", "d", "bandwidth").agg(
            pairs=pl.len().cast(pl.Int64),
            deep_fits=pl.col("deep_fits").sum().cast(pl.Int64),
            separated=pl.col("separated").sum().cast(pl.Int64),
            forbidden=(pl.col("separated") & pl.col("forbidden")).sum().cast(pl.Int64),
            forbidden_fits=(pl.col("forbidden") & pl.col("fits")).sum().cast(pl.Int64),
        ).sort("problem", "d", "bandwidth").select(pl.lit(name).alias("control"), pl.all())
        for name, condition in conditions.items()
    ]  # fmt: skip
    rows = pl.concat(counted).with_columns(
        share=pl.when(pl.col("deep_fits") > 0).then(pl.col("separated") / pl.col("deep_fits"))
    )
    said = [_outcome(CONTROLS[name][1], share) for name, share in rows.select("control", "share").rows()]
    return rows.with_columns(
        expected=pl.col("control").replace_strict({name: text for name, (text, _) in CONTROLS.items()}),
        outcome=pl.Series(said, dtype=pl.String),
    )


def widest(pairs: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Count the claim's pairs of the widest shallow networks alone, by dimension, sample size and step size.

    Narrower ones may fail for want of units; and pooled counts are those of the sizes with most runs.

    Returns:
        A row a d, n and step size: `d, n, lr, shape, deep_shape, pairs, fits, deep_fits, separated, forbidden`.
    """
    counts = [pl.col(name).sum().cast(pl.Int64) for name in ("fits", "deep_fits", "separated", "forbidden")]
    return (
        _told(pairs, runs)
        .filter(Claim.of(runs).but() & WIDEST)
        .group_by("d", "n", "lr")
        .agg(pl.col("shape").first(), pl.col("deep_shape").first(), pl.len().cast(pl.Int64).alias("pairs"), *counts)
        .sort("d", "n", "lr")
    )


_OF_SHALLOW = pl.col("parameters").filter(pl.col("arm") == "shallow")
WIDEST = (
    (pl.col("arm") == "shallow")
    & (pl.col("parameters") == _OF_SHALLOW.max().over("group"))
    & (_OF_SHALLOW.n_unique().over("group") > 1)
)


def _told(pairs: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Add to pairs what their setting is, as far as claim and controls speak of it."""
    shared = (
        "problem", "d", "n", "bandwidth", "optimizer", *_STARTS, "warmup_steps", "max_steps", "activation", "bias",
        "noise", "weight_decay", "lr_ratio", "domain",
    )  # fmt: skip
    return pairs.join(runs.select("group", *shared).unique(), on="group")


def _outcome(separation: bool | None, share: float | None) -> str:
    if share is None:
        return "open"
    if separation is None:
        return "found"
    yes, no = share >= MOST, share <= FEW
    return "as expected" if (yes if separation else no) else "refuted" if (no if separation else yes) else "mixed"


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
        told = run["optimizer"] == "gd" and run["lr_ratio"] == 1 and run["weight_decay"] == run["noise"] == 0
        rows.append(
            {name: run[name] for name in STAY_SCHEMA if name in run}
            | {
                "witness_sharpness": scaling.sharpness, "largest_lr": scaling.lr,
                "stays": run["loss"] is not None and run["loss"] <= STAYED,
                "expected": bool(edge < 1) if told and abs(np.log(edge)) >= MARGIN else None,
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=STAY_SCHEMA).sort("d", "n", "init_scale", "data_seed", "lr")


def scalings(found: Arms) -> pl.DataFrame:
    """Give the witness's sharpness and largest stable step at unit and at its flattest scaling, by data.

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


RATED = (
    "tail_loss", "relative_test", "test_sup", "sharpness", "stability_norm", "oriented_stability_norm",
    "variation_norm", "active_fraction",
)  # fmt: skip
SCALING_SCHEMA = {
    "domain": pl.String, "radius": pl.Float64, "d": pl.Int64, "n": pl.Int64, "data_seed": pl.Int64,
    "sharpness": pl.Float64, "largest_lr": pl.Float64, "flattest_s": pl.Float64, "flattest_a": pl.Float64,
    "flattest_sharpness": pl.Float64, "flattest_lr": pl.Float64,
}  # fmt: skip
RATE_SCHEMA = {
    "against": pl.String, "measure": pl.String, "label": pl.String, "slope": pl.Float64, "low": pl.Float64,
    "high": pl.Float64, "level": pl.Float64, "n": pl.Int64, "clusters": pl.Int64, "seeds": pl.Int64,
    "data_seeds": pl.Int64, "dropped": pl.Int64,
    "r2": pl.Float64, "intercept": pl.Float64, "note": pl.String,
}  # fmt: skip
STAY_SCHEMA = {
    "run_id": pl.String, "d": pl.Int64, "n": pl.Int64, "data_seed": pl.Int64, "init_scale": pl.Float64,
    "output_scale": pl.Float64, "lr": pl.Float64, "witness_sharpness": pl.Float64, "largest_lr": pl.Float64,
    "status": pl.String, "loss": pl.Float64, "stays": pl.Boolean, "expected": pl.Boolean,
}  # fmt: skip
