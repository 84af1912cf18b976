"""Sup-errors of the depth study: what norm an error needs, and which error a step size leaves."""

import numpy as np
import pytest

from relusweep.analysis.floor import Floors, budget, residual_slack
from relusweep.sweep.data import dataset
from relusweep.sweep.run import Run


@pytest.mark.slow
def test_report_says_what_norm_an_error_needs(studied, both):
    result = studied(both(0.9))
    needed = result.tables["needed"]
    assert needed["norm"].to_list() == [norm for norm in ("S", "S̃", "S_G") for _ in range(3)]
    assert (needed["lower"] <= needed["upper"] + 1e-9).all()
    least = {norm: part["lower"].to_numpy() for (norm,), part in needed.group_by("norm")}
    assert (least["S"] <= least["S̃"] + 1e-9).all()
    assert (np.diff(least["S̃"]) > 0).all()  # errors fall
    bound = needed.filter(norm="S̃", error=0.1).row(0, named=True)
    points = dataset(Run.model_validate({"problem": "pyramid", "n": 20, "lr": 1.0}).model_dump()).x
    slack = np.sqrt(1 + (points**2).sum(1).max()) / 2
    assert 1 / bound["largest_lr"] == pytest.approx(max(0.5, bound["lower"] + 0.5 - slack * 0.1))


@pytest.mark.slow
def test_report_says_which_sup_error_a_step_size_leaves_in_all_three_norms_and_the_gap(studied, both, capfd):
    floors = studied(both(0.9)).tables["sup_floors"]
    assert capfd.readouterr().err == ""  # the bar is for terminals
    assert floors["norm"].to_list() == [norm for norm in ("S", "S̃", "S_G") for _ in (0.9, 1.5)]
    plain, oriented, sufficient = (floors.filter(norm=norm) for norm in ("S", "S̃", "S_G"))
    assert (plain["floor_sup"] <= oriented["floor_sup"] + 1e-9).all()
    assert (oriented["floor_sup"] <= sufficient["floor_sup"] + 1e-9).all()
    assert (plain["gap"].abs() < 1e-8).all()
    assert (sufficient["gap"] >= -1e-9).all()
    assert (sufficient["gap"] == sufficient["reached_sup"] - sufficient["floor_sup"]).all()
    assert sufficient["stable_sup"].to_list() == [None, None]
    data = dataset(Run.model_validate({"problem": "pyramid", "n": 20, "lr": 1.0}).model_dump())
    row = oriented.filter(lr=1.5).row(0, named=True)
    mine = Floors(data.x, data.y, "oriented_stability")
    assert row["floor_sup"] == pytest.approx(mine.least_error(budget(1.5)).lower, abs=1e-9)
    assert 0 < row["stable_sup"] < row["floor_sup"]
    assert row["stable_sup"] == pytest.approx(mine.least_error(budget(1.5), residual_slack(data.x)).lower, abs=1e-9)
