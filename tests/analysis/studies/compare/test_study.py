"""Comparisons as a whole: intervals, verdicts and notes on planted runs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from relusweep.analysis.studies.compare.captions import WORDS
from relusweep.analysis.studies.compare.study import STUDY
from relusweep.analysis.table import TableError, load
from tests.analysis.studies.conftest import verdict

SHARPNESS = "Does optimizer momentum, momentum 0.9 change the sharpness, against optimizer gd?"


@pytest.fixture
def compared(store):
    """Return the study's result on rows, for a parameter."""

    def make(rows, parameter="optimizer"):
        return STUDY(replace(load([store(rows)]), compare=parameter))

    return make


def planted(row, factor, seeds=8, noise=0.05):
    """Pairs of which the second is sharper by a factor, but for noise of each seed."""
    rng = np.random.default_rng(0)
    effect = np.exp(np.log(factor) + noise * rng.normal(size=seeds))
    return [
        row(lr, seed, eos=0.3 * (effect[seed] if rule == "momentum" else 1), share=0.5, optimizer=rule)
        for rule in ("gd", "momentum")
        for lr in (0.1, 0.2)
        for seed in range(seeds)
    ]


def test_a_change_is_found_with_its_interval(compared, row):
    result = compared(planted(row, 1.3))
    found = result.tables["differences"].row(by_predicate=_is("sharpness"), named=True)
    gaps = [
        np.log(b["sharpness"] / a["sharpness"])
        for a, b in zip(planted(row, 1.3)[:8], planted(row, 1.3)[16:24], strict=True)
    ]  # of a seed both step sizes have the same
    interval = stats.t.interval(0.95, 7, np.mean(gaps), stats.sem(gaps))
    assert (found["ratio_low"], found["ratio_high"]) == pytest.approx(tuple(np.exp(interval)))
    assert (found["pairs"], found["clusters"], found["larger"]) == (16, 8, 1.0)
    said = verdict(result, SHARPNESS)
    assert (said.answer, said.about) == ("yes", "finding")
    assert (
        "larger in 100% of 16 pairs, 8 independent seeds. Every run has its partner, and all converged."
        in said.sentence
    )
    assert result.tables["differences_by_lr"].filter(measure="sharpness")["lr"].to_list() == [0.1, 0.2]
    assert set(result.figures) == {"paired", "ratios"}
    assert {each.question.partition("change ")[2].partition(",")[0] for each in result.verdicts} == {
        words for _, words in WORDS.values()
    }


@pytest.mark.parametrize(
    ("factor", "noise", "seeds", "answer", "words"),
    [
        (1.001, 1e-4, 8, "no", "By less than 1%: λ_max minus that of optimizer gd"),
        (1.02, 0.5, 4, "open", "λ_max minus that of optimizer gd"),
        (2.0, 0.1, 2, "open", "2 independent seeds, at least 3 needed."),
    ],
)
def test_no_change_and_no_evidence_are_two_things(compared, row, factor, noise, seeds, answer, words):
    said = verdict(compared(planted(row, factor, seeds, noise)), SHARPNESS)
    assert said.answer == answer
    assert said.sentence.startswith(words)


def test_what_was_not_paired_is_in_the_verdict(compared, row):
    rows = planted(row, 1.3)
    rows[0]["status"] = "budget"
    rows[1]["status"] = "diverged"
    rows.append(row(0.3, 0))
    said = verdict(compared(rows), SHARPNESS).sentence
    assert said.endswith("Not in it: 1 pairs at budget, 1 with a divergence, 1 of the baseline without.")


def test_where_no_pair_converged_the_answer_is_open(compared, row):
    rows = [
        row(lr, s, optimizer=rule, status="budget") for rule in ("gd", "momentum") for lr in (0.1, 0.2) for s in (0, 1)
    ]
    result = compared(rows)
    assert {each.level for each in result.verdicts} == {"undecided"}
    assert verdict(result, SHARPNESS).sentence.startswith(
        "No pair converged on both sides. Not in it: 4 pairs at budget"
    )
    assert "paired" in result.figures, "what did not converge is drawn hollow"


def test_without_a_parameter_or_with_one_that_does_not_vary_it_is_one_line(compared, row):
    with pytest.raises(TableError, match=r"^study = 'compare': no parameter is named; .* or add --compare optimizer"):
        compared([row()], None)
    with pytest.raises(TableError, match=r"^compare: width = 64 in all 2 runs; expected two values or more"):
        compared([row(seed=0), row(seed=1)], "width")


def test_no_runs_that_differ_in_it_alone_is_a_note(compared, row):
    result = compared([row(0.1, 0), row(0.2, 1, optimizer="momentum")])
    assert result.notes[0] == "No two runs differ in optimizer alone."
    assert result.tables["pairing"]["alone"].to_list() == [1]


def _is(measure):
    import polars as pl

    return pl.col("measure") == measure
