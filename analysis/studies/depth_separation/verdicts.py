"""Sentences of the depth study: what held, what was refuted, and on how many runs."""

import polars as pl

from relusweep.analysis.studies.depth_separation.claim import FEW, LARGE, MOST, VANISHING, Claim
from relusweep.analysis.studies.depth_separation.controls import ControlRow, rows_of
from relusweep.analysis.study import Level, Verdict

_TOLERANCE = 1e-6  # relative: certificates and errors are rounded in float64


def verdicts(
    runs: pl.DataFrame, critical: pl.DataFrame, controls: pl.DataFrame, stay: pl.DataFrame, widest: pl.DataFrame
) -> list[Verdict]:
    """Return the study's verdicts, theorems first.

    Args:
        runs: With floors.
        critical: Critical step sizes, a row a setting and shallow arm.
        controls: A row a control and dimension.
        stay: A row a run that began at the witness.
        widest: Pairs of the widest shallow networks, a row a dimension, sample size and step size.
    """
    claims = controls.filter(control="claim")
    return [
        _floor(runs),
        _witness(stay),
        *(_separation(d, claims.filter(d=d), critical, runs) for d in claims["d"]),
        *(_control(row, widest) for row in rows_of(controls.filter(pl.col("control") != "claim"))),
    ]


def beaten(runs: pl.DataFrame) -> pl.DataFrame:
    """Return the shallow runs with a training error below the floor at their own sharpness; by a theorem none."""
    return runs.filter(pl.col("train_rmse") < pl.col("own_floor") * (1 - _TOLERANCE))


def _floor(runs: pl.DataFrame) -> Verdict:
    question = "Is every shallow network above the certified floor of its sharpness?"
    covered = runs.filter(pl.col("own_floor").is_not_null(), pl.col("train_rmse").is_not_null())
    positive = covered.filter(pl.col("own_floor") > 0)
    if not len(positive):
        return Verdict(
            question, "undecided",
            f"Nothing can be said: a floor was computed for {_runs(len(covered))}, and is above 0 for none of them.",
        )  # fmt: skip
    stable = positive.filter(pl.col("sharpness") * pl.col("lr") <= 2)
    below = beaten(positive)
    if len(below):
        worst = (below["train_rmse"] / below["own_floor"]).min()
        return Verdict(
            question, "refuted",
            f"BEATEN by {len(below)} of {_runs(len(positive))}, down to {worst:.4g} of the floor: see the list. "
            "Look for a wrong measure or certificate before this counts against the theorem.",
        )  # fmt: skip
    least = (positive["train_rmse"] / positive["own_floor"]).min()
    return Verdict(
        question, "confirmed",
        f"None of {_runs(len(positive))} with a floor above 0 has a smaller training error; {len(stable)} of them "
        f"ended with λ_max ≤ 2/η, so that the floor of their step size binds them too. The nearest came to "
        f"{least:.3g} times its floor. For {_runs(len(covered) - len(positive))} the floor is 0 and says nothing.",
    )  # fmt: skip


def _witness(stay: pl.DataFrame) -> Verdict:
    question = "Does gradient descent stay at the deep witness up to η = 2/λ?"
    foretold = stay.drop_nulls("expected")
    within, beyond = foretold.filter(pl.col("expected")), foretold.filter(~pl.col("expected"))
    if not len(within):
        return Verdict(question, "undecided", "No run began at the witness with a step size below its 2/λ.")
    left = within.filter(~pl.col("stays"))
    tail = f" Beyond 2/λ it was left in {int((~beyond['stays']).sum())} of {_runs(len(beyond))}." if len(beyond) else ""
    if len(left):
        return Verdict(
            question, "refuted", f"LEFT in {len(left)} of {_runs(len(within))} with η below 2/λ.{tail}"
        )  # fmt: skip
    return Verdict(
        question, "confirmed",
        f"The loss stayed 0 up to rounding in all {_runs(len(within))} with η < 2/λ, with η up to "
        f"{within['lr'].max():.3g}.{tail}",
    )  # fmt: skip


def _separation(d: int, claim: pl.DataFrame, critical: pl.DataFrame, runs: pl.DataFrame) -> Verdict:
    question = f"d = {d}: do shallow networks fail at the pyramid where deep ones fit (η ≥ {LARGE:g})?"
    (row,) = rows_of(claim.head(1))
    if not row["deep_fits"]:
        pairs = _many(row["pairs"], "pair")
        sentence = f"No deep network fits at η ≥ {LARGE:g} ({pairs} of runs): nothing to be separated from."
        return Verdict(question, "undecided", sentence, "finding")
    settings = runs.filter(Claim.of(runs).but(), d=d)["group"].unique().to_list()
    compared = critical.filter(pl.col("group").is_in(settings))
    split = compared.filter(pl.col("separated") * 2 > pl.col("pairs"))
    where = (
        f" In {len(split)} of {len(compared)} comparisons (by setting and width) most seeds have a critical step size; "
        f"the medians lie between {split['low'].min():.3g} and {split['high'].max():.3g}."
        if len(split)
        else ""
    )
    if never := int(compared["never"].sum()):
        where += (
            f" In {never} of {int(compared['pairs'].sum())} pairs of seeds the shallow network fits at no step size at "
            "all, so that its failure may have other causes."
        )
    level, word = _level(row["share"])
    return Verdict(question, level, _start(word + _counted(row)) + where, "finding")


def _level(share: float) -> tuple[Level, str]:
    if share >= MOST:
        return "confirmed", ""
    return ("refuted", "NO SEPARATION: ") if share <= FEW else ("undecided", "Mixed: ")


def _control(row: ControlRow, widest: pl.DataFrame) -> Verdict:
    about = f"η ≤ {VANISHING:g}" if row["control"].startswith("vanishing") else f"η ≥ {LARGE:g}"
    of = f"{row['problem']}, d = {row['d']}" + ("" if row["bandwidth"] is None else f", bandwidth {row['bandwidth']:g}")
    question = f"Control, {row['control']} ({of}, {about}): {row['expected']}?"
    if row["outcome"] == "open":
        return Verdict(
            question, "undecided", f"No deep network fits in {_many(row['pairs'], 'pair')} of runs.", "finding"
        )
    if row["outcome"] == "found":
        fits = row["deep_fits"] - row["separated"]
        pairs = _many(row["deep_fits"], "pair")
        sentence = f"Where the deep network fits, so does the frozen one in {fits} of {pairs} of runs."
        return Verdict(question, _level(1 - row["share"])[0], sentence, "finding")
    levels: dict[str, tuple[Level, str]] = {
        "as expected": ("confirmed", ""),
        "refuted": ("refuted", "NOT AS EXPECTED: "),
        "mixed": ("undecided", "Mixed: "),
    }
    level, word = levels[row["outcome"]]
    by_size = _by_size(widest.filter(d=row["d"])) if row["control"] == "widest networks" else ""
    return Verdict(question, level, _start(word + _counted(row)) + by_size, "finding")


def _by_size(widest: pl.DataFrame) -> str:
    """Return the counts of each sample size: pooled, the size with most runs speaks for all."""
    sizes = widest.filter(pl.col("lr") >= LARGE).group_by("n").agg(pl.col("separated", "deep_fits").sum()).sort("n")
    if len(sizes) < 2:
        return ""
    return " " + ", ".join(f"n = {n}: {separated} of {deep}" for n, separated, deep in sizes.iter_rows()) + "."


def _start(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _counted(row: ControlRow) -> str:
    deep, separated, forbidden = row["deep_fits"], row["separated"], row["forbidden"]
    proved = (
        f"; in {forbidden} of these, by certificate, no shallow network fits at a twice differentiable minimum stable "
        "at that step size"
        if forbidden
        else ""
    )
    against = (
        f" In {_many(row['forbidden_fits'], 'pair')} it fits all the same where none does at such a minimum."
        if row["forbidden_fits"]
        else ""
    )
    return (
        f"the shallow network fails in {separated} of {_many(deep, 'pair')} of runs whose deep one fits "
        f"({100 * row['share']:.3g} %){proved}.{against}"
    )


def _runs(count: int) -> str:
    return _many(count, "run")


def _many(count: int, noun: str) -> str:
    return f"{count} {noun if count == 1 else noun + 's'}"
