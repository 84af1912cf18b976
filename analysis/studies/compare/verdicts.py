"""Verdicts: whether an arm changes a measure, and what of its runs was not compared."""

import polars as pl

from relusweep.analysis.studies.compare.captions import WORDS
from relusweep.analysis.studies.compare.pairs import Pairs
from relusweep.analysis.study import Verdict

NEGLIGIBLE = 0.01  # a ratio that is surely nearer to 1 than this is called no change


def verdicts(pairs: Pairs, differences: pl.DataFrame) -> list[Verdict]:
    """Return for every arm and main measure whether it changes."""
    found = []
    for arm in pairs.counts["arm"]:
        counts = pairs.counts.row(by_predicate=pl.col("arm") == arm, named=True)
        for measure, (symbol, words) in WORDS.items():
            row = differences.filter(arm=arm, measure=measure).row(0, named=True) if counts["converged"] else None
            if row and not row["pairs"]:
                continue
            level, said = _judged(row, symbol, pairs.baseline)
            question = f"Does {arm} change {words}, against {pairs.baseline}?"
            found.append(Verdict(question, level, f"{said} {_partners(counts)}", "finding"))
    return found


def _judged(row: dict[str, float] | None, symbol: str, baseline: str) -> tuple[str, str]:
    if row is None:
        return "undecided", "No pair converged on both sides."
    if row["difference"] is None:
        return "undecided", f"{row['note']}."
    interval = f"[{row['difference_low']:.3g}, {row['difference_high']:.3g}]"
    said = f"{symbol} minus that of {baseline}: {row['difference']:.3g} {interval}"
    if row["ratio"] is not None:
        said += f", ratio {row['ratio']:.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}]"
    said += f"; larger in {row['larger']:.0%} of {row['pairs']} pairs, {row['clusters']} independent seeds."
    if row["ratio"] is not None and row["ratio_low"] > 1 - NEGLIGIBLE and row["ratio_high"] < 1 + NEGLIGIBLE:
        return "refuted", f"By less than {NEGLIGIBLE:.0%}: {said}"
    return ("confirmed" if row["difference_low"] * row["difference_high"] > 0 else "undecided"), said


def _partners(counts: dict[str, int]) -> str:
    parts = [
        f"{_counted(counts['budget'], 'pair')} at budget" if counts["budget"] else "",
        f"{_counted(counts['diverged'], 'pair')} with a divergence" if counts["diverged"] else "",
        f"{_counted(counts['alone'], 'run')} without a partner" if counts["alone"] else "",
        f"{counts['baseline_alone']} of the baseline without" if counts["baseline_alone"] else "",
    ]
    left = ", ".join(part for part in parts if part)
    return f"Not in it: {left}." if left else "Every run has its partner, and all converged."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
