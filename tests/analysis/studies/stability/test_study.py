"""The stability study as a whole: its tables and notes on planted runs."""

import math

import pytest

from relusweep.analysis.studies.stability.study import STUDY
from relusweep.analysis.table import load
from tests.analysis.studies.conftest import verdict

HOLD = ("Does λ_max ≤ 2/η hold?", "Does S ≤ 1/η − ½ hold?", "Does S̃ ≤ 1/η − ½ hold?")


def test_runs_that_are_not_covered_are_counted_and_named(studied, row, sweep):
    rows = [
        *sweep, row(0.1, 9, optimizer="adam", eos=5.0), row(0.2, 9, optimizer="adam", eos=5.0),
        row(0.5, 9, status="diverged"), row(0.01, 9, status="budget"),
    ]  # fmt: skip
    result = studied(rows)
    assert verdict(result, HOLD[0]).level == "confirmed"
    counted = {(r["bound"], r["reason"]): r["runs"] for r in result.tables["not_covered"].iter_rows(named=True)}
    assert counted["sharpness", "optimizer's threshold is not one of λ_max"] == 2
    assert counted["sharpness", "diverged"] == 1
    notes = " ".join(result.notes)
    assert "λ_max ≤ 2/η covers 32 of 36 runs" in notes
    assert "1 of 36 runs diverged (2.8 %), at step sizes 0.5; at 0.5 all runs of a group did" in notes


def test_clusters_are_pairs_of_seeds(studied, row):
    result = studied([row(lr, s, data_seed=t) for lr in (0.1, 0.2, 0.3) for s in range(2) for t in range(2)])
    assert result.tables["fits"]["clusters"].to_list() == [4, 4, 4]


def test_checks_add_up_overall_and_by_group(studied, row):
    rows = [row(lr, s, eos=0.9 + 0.2 * (s == 3), width=w) for lr in (0.1, 0.2) for s in range(4) for w in (8, 16)]
    checks = studied([*rows, row(0.9, status="diverged", width=8)]).tables["checks"]
    for check in checks.iter_rows(named=True):
        assert check["applicable"] == check["holds"] + check["on_kinks"] + check["violates"]
    overall = checks.filter(bound="sharpness", label="all runs").row(0, named=True)
    assert (overall["runs"], overall["applicable"], overall["violates"]) == (17, 16, 4)
    assert checks.filter(bound="sharpness", label="width 8")["runs"].to_list() == [9]
    assert overall["tightness_max"] == pytest.approx(1.1)
    assert math.isclose(overall["tightness_median"], 0.9)


def test_several_stores_give_the_verdicts_of_their_union(store, sweep):
    split = STUDY(load([store(sweep[:9], "a"), store(sweep[5:], "b")]))
    whole = STUDY(load([store(sweep, "c")]))
    assert split.verdicts == whole.verdicts
    assert split.notes == whole.notes
    assert all(split.tables[key].equals(whole.tables[key]) for key in whole.tables)


def test_notes_say_how_many_groups_the_figures_leave_out(studied, row):
    result = studied([row(width=width) for width in range(2, 13)])
    assert any("3 more are in the tables" in note for note in result.notes)
