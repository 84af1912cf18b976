"""Sentences of the stability study: what was seen, on how many runs, and what was not."""

from collections.abc import Mapping

import polars as pl

from relusweep.analysis.bounds import TOLERANCE, Bound
from relusweep.analysis.study import Level, Verdict

AT_THE_EDGE = 0.95  # a value of at least this share of its limit is called tight, and the edge met


def verdicts(bounds: list[Bound], judged: pl.DataFrame, fits: pl.DataFrame, chain: pl.DataFrame) -> list[Verdict]:
    """Return the study's verdicts: theorems, findings, and whether the measures agree.

    Args:
        bounds: As they speak of these runs, the sharpness first.
        judged: Rows of `bounds.judge`, of all bounds.
        fits: The study's table of exponents.
        chain: Rows of `bounds.check_chain`.
    """
    rows = {bound.name: judged.filter(bound=bound.name) for bound in bounds}
    sharpness, *norms = bounds
    norms.reverse()  # the sharper bound first
    return [
        *(_holds(bound, rows[bound.name]) for bound in bounds),
        *(_tight(bound, rows[bound.name], sharpness, rows[sharpness.name]) for bound in norms),
        *(_proportional(bound, fits.filter(measure=bound.name)) for bound in norms),
        _chain(chain),
    ]


def _holds(bound: Bound, rows: pl.DataFrame) -> Verdict:
    question = f"Does {bound.statement} hold?"
    covered = rows.filter(pl.col("outcome") != "not_covered")
    if not len(covered):
        return Verdict(question, "undecided", f"Nothing can be said: {_no_run(rows)}.")
    broken, kinks = (int((covered["outcome"] == outcome).sum()) for outcome in ("violates", "on_kinks"))
    where = f"(step sizes {_span(covered['lr'])})"
    aside = (
        f" {_runs(kinks)} on kinks {_plural('exceeds', kinks, 'exceed')} it as recorded, "
        f"but not on the flattest side of the kinks."
        if kinks
        else ""
    )
    if broken:
        worst = covered.filter(outcome="violates")["ratio"].max()
        most = f", by a factor of up to {worst:.4g}" if isinstance(worst, float) else ""
        return Verdict(
            question,
            "refuted",
            f"VIOLATED on {broken} of the {_runs(len(covered))} it covers {where}{most}: see the list of violations. "
            f"Before this counts against the theorem, check that these runs had settled at a minimum.{aside}",
        )
    all_of_them = f"all {len(covered)} converged runs" if len(covered) > 1 else "the only converged run"
    return Verdict(question, "confirmed", f"The bound held on {all_of_them} it covers {where}.{aside}")


def _tight(bound: Bound, rows: pl.DataFrame, sharpness: Bound, edge: pl.DataFrame) -> Verdict:
    question = f"Is {bound.statement} tight on these data?"
    ratios = rows.filter(pl.col("outcome") != "not_covered")["ratio"].drop_nulls()
    if not len(ratios):
        return Verdict(question, "undecided", f"Nothing can be said: {_no_run(rows)}.", "finding")
    most, middle = _number(ratios.max()), _number(ratios.median())
    met = _number(edge.filter(pl.col("outcome") != "not_covered")["ratio"].max())
    reached = f"{met:.3g} of its limit {sharpness.limit_words}"
    seen = f"{bound.symbol} came to {_percent(most)} of its limit at most, {_percent(middle)} in the median run"
    if most >= AT_THE_EDGE:
        return Verdict(question, "confirmed", f"{seen}.", "finding")
    if met >= AT_THE_EDGE:
        sentence = f"{seen}, although {sharpness.symbol} reached {reached}: the edge of stability was met."
        return Verdict(question, "refuted", sentence, "finding")
    return Verdict(
        question,
        "undecided",
        f"{seen}. But {sharpness.symbol} reached only {reached}: no run met the edge of stability, so this says little "
        "about tightness. Larger step sizes, or large initial weights with warm-up, would.",
        "finding",
    )


def _proportional(bound: Bound, fits: pl.DataFrame) -> Verdict:
    symbol = bound.symbol
    question = f"Does {symbol} grow in proportion to its limit {bound.limit_words}?"
    fitted = fits.filter(pl.col("slope").is_not_null())
    if not len(fitted):
        reasons = "; ".join(fits["note"].drop_nulls().unique(maintain_order=True).head(3))
        return Verdict(question, "undecided", f"No exponent could be fitted: {reasons or 'no run'}.", "finding")
    excluded = fitted.filter((pl.col("low") > 1) | (pl.col("high") < 1))
    level: Level = "refuted" if len(excluded) == len(fitted) else "undecided"
    if len(fitted) > 1:
        sentence = (
            f"{symbol} was fitted by a power of the limit in {len(fitted)} groups, with exponents "
            f"{_span(fitted['slope'])}; in {len(excluded)} of them the interval excludes 1, which is proportion "
            f"(intervals over {_chances(fitted)}; no correction for looking at several)."
        )
        return Verdict(question, level, sentence, "finding")
    fit = fitted.row(0, named=True)
    if not len(excluded):
        compare = "The interval contains 1, which is proportion, and does not single it out."
    elif fit["high"] < 0:
        compare = f"{symbol} fell where its limit grew."
    else:
        compare = f"{symbol} grew {'more slowly' if fit['slope'] < 1 else 'faster'} than in proportion (exponent 1)."
    return Verdict(
        question,
        level,
        f"{symbol} followed its limit with exponent {fit['slope']:.3g} ({_percent(fit['level'])} interval "
        f"{fit['low']:.3g} to {fit['high']:.3g} over {_chance(fit)}; {fit['n']} runs). {compare}",
        "finding",
    )


def _chance(fit: Mapping[str, int]) -> str:
    """Return over what an interval is one: what was drawn anew from cluster to cluster, and what was not."""
    clusters, seeds, data_seeds = fit["clusters"], fit["seeds"], fit["data_seeds"]
    if data_seeds == 1:
        return f"{clusters} seeds, given one data set"
    if seeds == 1:
        return f"{clusters} data seeds, given one seed of the initial weights"
    if clusters == seeds == data_seeds:
        return f"{clusters} seeds, each with a data seed of its own"
    return f"{clusters} pairs of {seeds} seeds and {data_seeds} data seeds, as if pairs were independent"


def _chances(fits: pl.DataFrame) -> str:
    if (fits["data_seeds"] == 1).all():
        return "seeds, given one data set a group"
    return "pairs of seed and data seed, as if pairs were independent; the table of exponents counts them"


def _chain(chain: pl.DataFrame) -> Verdict:
    question = "Do the recorded measures agree with each other?"
    runs, broken = int(chain["runs"][0]), int(chain["violations"].sum())
    if not runs:
        return Verdict(question, "undecided", "No run with one hidden ReLU layer has all four measures.")
    if broken:
        links = ", ".join(chain.filter(pl.col("violations") > 0)["link"])
        return Verdict(
            question,
            "refuted",
            f"BROKEN {broken} times on {_runs(runs)} ({links}): a measure is wrong; trust no other verdict.",
        )
    return Verdict(
        question,
        "confirmed",
        f"1+2S ≤ 1+2S̃ ≤ ‖mean ∇f‖² ≤ λ_max(Gauss–Newton), and 1+2S̃ ≤ λ_max(H) + √(1+R²) mean |r|, both true at every "
        f"point, held on {_all(runs)} that "
        f"{_plural('has', runs, 'have')} all four, converged or not (without output bias the 1 is absent).",
    )


def coverage(bounds: list[Bound], runs: pl.DataFrame, summary: pl.DataFrame, not_covered: pl.DataFrame) -> list[str]:
    """Return notes on what the verdicts do not cover, and where training diverged."""
    notes = []
    diverged = summary.filter(pl.col("diverged") > 0)
    total = int((runs["status"] == "diverged").sum())
    if total:
        hopeless = diverged.filter(pl.col("diverged") == pl.col("runs"))["lr"]
        full = f"; at {_span(hopeless)} all runs of a group did" if len(hopeless) else ""
        notes.append(
            f"{total} of {_runs(len(runs))} diverged ({_percent(total / len(runs))}), at step sizes "
            f"{_span(diverged['lr'])}{full}. They have no minimum and count neither for nor against a bound."
        )
    budget = int((runs["status"] == "budget").sum())
    if budget:
        notes.append(
            f"{_runs(budget)} ({_percent(budget / len(runs))}) spent the step budget before convergence; "
            "no bound is claimed for them, and the medians leave them out."
        )
    for bound in bounds:
        rows = not_covered.filter(bound=bound.name)
        if len(rows):
            reasons = "; ".join(f"{row['runs']} {row['reason']}" for row in rows.iter_rows(named=True))
            notes.append(
                f"{bound.statement} covers {len(runs) - rows['runs'].sum()} of {_runs(len(runs))}. Left out: {reasons}."
            )
    notes.append(
        f"A run counts as within a bound if it would be at a step size smaller by {_percent(TOLERANCE)}: near the "
        "edge, λ_max depends at this level on where training stopped. The statements are about these runs only."
    )
    return notes


def _no_run(rows: pl.DataFrame) -> str:
    reasons = rows.group_by("reason").len().sort("len", "reason", descending=[True, False]).iter_rows()
    return f"none of {_runs(len(rows))} is covered ({'; '.join(f'{count} {reason}' for reason, count in reasons)})"


def _span(values: pl.Series) -> str:
    low, high = _number(values.min()), _number(values.max())
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _percent(share: float) -> str:
    if 0.995 <= share < 1:
        return f"{100 * share:.2f} %"  # never round up to the whole
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.4g} %"


def _runs(count: int) -> str:
    return f"{count} {_plural('run', count)}"


def _all(count: int) -> str:
    return f"all {count} runs" if count > 1 else "the only run"


def _plural(word: str, count: int, plural: str = "") -> str:
    return word if count == 1 else plural or f"{word}s"
