"""Controls of the depth study: pairs that depart from the claim in one thing, and how many of them are separated."""

from typing import Literal, TypedDict, cast

import polars as pl

from relusweep.analysis.studies.depth_separation.arms import SMALLER
from relusweep.analysis.studies.depth_separation.claim import FEW, LARGE, MOST, STARTS, VANISHING, Claim, far

SMOOTH = ("bump", "sine", "affine")
Outcome = Literal["as expected", "refuted", "mixed", "open", "found"]
CONTROLS: dict[str, tuple[str, bool | None]] = {  # name: (what is expected, whether separation is)
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


class ControlRow(TypedDict):
    """A row of the table of controls."""

    control: str
    problem: str
    d: int
    bandwidth: float | None
    pairs: int
    deep_fits: int
    separated: int
    forbidden: int
    forbidden_fits: int
    share: float
    """separated over deep_fits; null, and not to be read, where the outcome is `open`."""
    expected: str
    outcome: Outcome


def rows_of(controls: pl.DataFrame) -> list[ControlRow]:
    """Return the rows of `controls`, by name."""
    return cast("list[ControlRow]", controls.to_dicts())


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
    compared, claim = with_settings(pairs, runs), Claim.of(runs)
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
        compared.filter(condition).group_by("problem", "d", "bandwidth").agg(
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
    outcomes = [_outcome(CONTROLS[name][1], share) for name, share in rows.select("control", "share").rows()]
    return rows.with_columns(
        expected=pl.col("control").replace_strict({name: text for name, (text, _) in CONTROLS.items()}),
        outcome=pl.Series(outcomes, dtype=pl.String),
    )


def widest(pairs: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Count the claim's pairs of the widest shallow networks alone, by dimension, sample size and step size.

    Narrower ones may fail for want of units; and pooled counts are those of the sizes with most runs.

    Returns:
        A row a d, n and step size: `d, n, lr, shape, deep_shape, pairs, fits, deep_fits, separated, forbidden`.
    """
    counts = [pl.col(name).sum().cast(pl.Int64) for name in ("fits", "deep_fits", "separated", "forbidden")]
    return (
        with_settings(pairs, runs)
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


def with_settings(pairs: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Add to pairs the parameters of their setting that claim and controls speak of."""
    shared = (
        "problem", "d", "n", "bandwidth", "optimizer", *STARTS, "warmup_steps", "max_steps", "activation", "bias",
        "output_bias", "noise", "weight_decay", "lr_ratio", "domain", "schedule", "label_noise", "clip",
    )  # fmt: skip
    return pairs.join(runs.select("group", *shared).unique(), on="group")


def _outcome(separation: bool | None, share: float | None) -> Outcome:
    if share is None:
        return "open"
    if separation is None:
        return "found"
    yes, no = share >= MOST, share <= FEW
    return "as expected" if (yes if separation else no) else "refuted" if (no if separation else yes) else "mixed"
