"""Floors of the depth study: which data sets get one, and what is claimed elsewhere."""

import re

from tests.analysis.studies.conftest import verdict
from tests.analysis.studies.depth_separation.conftest import CLAIM, FLOOR


def test_floor_that_cannot_be_afforded_is_not_claimed(studied, both):
    result = studied(both(0.9, n=257, seeds=1, rates=(1.5,)))
    assert verdict(result, FLOOR).level == "undecided"
    assert result.notes[0].startswith("Floors were computed for 0 of 1 data sets")
    assert result.tables["floors"].is_empty()


def test_without_large_step_sizes_there_is_no_floor_and_none_is_counted(studied, both):
    result = studied(both(9.0, rates=(0.1, 0.3)))
    assert result.notes[0].startswith("Floors were computed for 0 of 1 data sets (none), which 0 of 8 shallow runs")
    assert "a floor was computed for 0 runs" in verdict(result, FLOOR).sentence


def test_data_whose_solver_gives_up_have_no_floor_and_are_named(studied, both, monkeypatch):
    def gives_up(*_):
        raise RuntimeError("numerical difficulties")

    monkeypatch.setattr("relusweep.analysis.floor.floors.least_rms", gives_up)
    monkeypatch.setattr("relusweep.analysis.floor.floors.least_sup", gives_up)
    result = studied(both(0.9))
    assert [len(result.tables[name]) for name in ("floors", "sup_floors", "needed")] == [0, 0, 0]
    assert "Floors were computed for 0 of 1 data sets (none), which 0 of 16 shallow runs share" in result.notes[0]
    for note, what in zip(result.notes[1:3], ("root mean square error", "sup-error"), strict=True):
        assert re.match(
            rf"No floor of the {what} of problem pyramid, d 2, n 20, data_seed 0: the solver gave up over \d+ units "
            r"\(numerical difficulties\)",
            note,
        )
    assert verdict(result, CLAIM).level == "confirmed"  # what needs no floor is said all the same


def test_data_with_too_many_ways_to_tilt_have_no_floor_and_are_named(studied, both, monkeypatch):
    """As with fewer samples than dimensions."""
    monkeypatch.setattr("relusweep.analysis.floor.arrangement.MOST_WAYS", 100)
    result = studied(both(0.9))
    said = "problem pyramid, d 2, n 20, data_seed 0: n = 20, d = 2: 190 hyperplanes, each with 2^2 ways to tilt it"
    assert said in result.notes[1]
