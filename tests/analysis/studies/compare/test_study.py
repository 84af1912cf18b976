"""Comparisons as a whole: intervals, verdicts and notes on planted runs."""

import numpy as np
import pytest
from scipy import stats

from relusweep.analysis.studies.compare.captions import WORDS
from relusweep.analysis.table import TableError
from tests.analysis.studies.conftest import verdict

SHARPNESS = "Does optimizer momentum, momentum 0.9 change the sharpness, against optimizer gd?"


def test_a_change_is_found_with_its_interval(compared, planted):
    result = compared(planted(1.3))
    found = result.tables["differences"].row(by_predicate=_is("sharpness"), named=True)
    gaps = [
        np.log(b["sharpness"] / a["sharpness"]) for a, b in zip(planted(1.3)[:8], planted(1.3)[16:24], strict=True)
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
