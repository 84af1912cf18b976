"""The theorems of the depth study on planted runs: floors that no shallow network is below, and the witness."""

import re

import numpy as np
import polars as pl
import pytest

from relusweep.analysis.floor.certificate import Floors, budget, residual_slack
from relusweep.analysis.plotting import save
from relusweep.analysis.witness import Witness
from relusweep.sweep.data import dataset
from relusweep.sweep.run import Run
from tests.analysis.studies.depth_separation.conftest import CLAIM, verdict

FLOOR = "Is every shallow network above the certified floor"


def test_run_below_its_floor_is_an_alarm_and_is_listed(studied, both, network):
    planted = network(1.5, 9, loss=1e-8)
    result = studied([*both(0.9), planted])
    found = verdict(result, FLOOR)
    assert (found.level, found.about) == ("refuted", "theorem")
    assert found.sentence.startswith("BEATEN by 1 of ")
    assert result.tables["below_floor"]["run_id"].to_list() == [planted["run_id"]]


def test_floor_is_that_of_the_runs_own_sharpness(studied, both, network):
    sharp = network(1.5, 9, loss=1e-8, eos=20.0)  # no minimum of this step size: nothing forbids it
    result = studied([*both(0.9), sharp])
    found = verdict(result, FLOOR)
    assert found.level == "confirmed"
    assert "None of 4 runs with a floor above 0" in found.sentence
    floors = result.tables["floors"]
    assert floors["lr"].to_list() == [0.9, 1.5]
    assert (floors["floor_rmse"] <= floors["reached_rmse"]).all()
    assert (floors["reached_rmse"] < floors["constant_rmse"]).all()


def test_floor_of_a_step_size_is_claimed_of_plain_steps_only(studied, network):
    others = [{"optimizer": "momentum"}, {"optimizer": "adam"}, {"weight_decay": 1e-3}, {"lr_ratio": 0.5}]
    result = studied([network(1.5, 0, loss=1e-8, **given) for given in ({}, *others)])
    assert result.tables["summary"]["relative_floor"].drop_nulls().len() == 1
    assert verdict(result, FLOOR).sentence.startswith("BEATEN by 5 of ")  # at any weights that of their λ_max holds


def test_floor_that_cannot_be_afforded_is_not_claimed(studied, both):
    result = studied(both(0.9, n=257, seeds=1, rates=(1.5,)))
    assert verdict(result, FLOOR).level == "undecided"
    assert result.notes[0].startswith("Floors were computed for 0 of 1 data sets")
    assert result.tables["floors"].is_empty()


def test_without_large_step_sizes_there_is_no_floor_and_none_is_counted(studied, both):
    result = studied(both(9.0, rates=(0.1, 0.3)))
    assert result.notes[0].startswith("Floors were computed for 0 of 1 data sets (none), which 0 of 8 shallow runs")
    assert "a floor was computed for 0 runs" in verdict(result, FLOOR).sentence


def test_drawn_floor_is_the_least_of_the_data_sets_and_none_where_one_has_none(studied, both, network):
    many = [*both(0.9, rates=(1.5,), data_seed=0), *both(0.9, rates=(1.5,), data_seed=1)]
    result = studied(many)
    shares = result.tables["floors"].select(pl.col("floor_rmse").pow(2) / pl.col("constant_rmse").pow(2)).to_series()
    summary = result.tables["summary"].filter(arm="shallow")
    assert shares.n_unique() == 2
    assert summary["relative_floor"].item() == pytest.approx(shares.min())
    lacking = studied([*many, *both(0.9, rates=(1.5,), n=20, data_seed=2, optimizer="momentum", momentum=0.1)])
    momentum = lacking.tables["summary"].filter(pl.col("label").str.contains("momentum"), arm="shallow")
    assert momentum["relative_floor"].to_list() == [None]


def test_data_with_equal_labels_have_nothing_to_fit_and_a_report(studied, both):
    given = {"domain": "cube", "d": 7, "n": 20, "radius": 1.0}  # no sample lies in the pyramid
    result = studied(both(0.9, **given))
    assert result.tables["constants"]["constant_loss"].to_list() == [None]
    assert result.tables["summary"]["fits"].max() == 0
    for figure in result.figures.values():
        assert save(figure, "png")


def test_labels_that_differ_by_little_have_a_best_constant_all_the_same(studied, both):
    constants = studied(both(0.9, problem="noise", noise=1e-9)).tables["constants"].row(0, named=True)
    assert 0 < constants["constant_loss"] < 1e-17
    assert constants["constant_test"] is None  # the test labels are all 0


@pytest.mark.parametrize(("loss", "level"), [(1e-30, "confirmed"), (1e-3, "refuted")])
def test_witness_must_stay_below_its_largest_step(studied, both, network, loss, level):
    points = dataset(Run.model_validate({"problem": "pyramid", "n": 20, "lr": 1.0}).model_dump()).x
    largest = Witness(points).scaled().lr
    start = {"init": "witness", "width2": 4, "warmup_steps": 0, "tolerance": 0.0}
    inside, outside = network(0.9 * largest, 0, loss=loss, **start), network(1.1 * largest, 0, loss=0.01, **start)
    result = studied([*both(0.9), inside, outside])
    found = verdict(result, "stay at the deep witness")
    assert (found.level, found.about) == (level, "theorem")
    assert "Beyond 2/λ it was left in 1 of 1 run." in found.sentence
    assert result.tables["witness"]["expected"].to_list() == [True, False]
    assert len(result.tables["settings"]) == 1  # the witness is no arm


def test_witness_is_expected_to_stay_by_gradient_descent_on_its_own_labels_only(studied, both, network):
    start = {"init": "witness", "width2": 4, "warmup_steps": 0, "tolerance": 0.0, "loss": 1e-3}
    others = [{"optimizer": "sgd"}, {"noise": 1e-3}, {"weight_decay": 1e-3}]
    result = studied([*both(0.9, rates=(0.9,), seeds=1), *(network(0.3, 0, **start, **given) for given in others)])
    assert verdict(result, "stay at the deep witness").level == "undecided"
    assert result.tables["witness"]["stays"].to_list() == [False] * 3


def test_witness_is_scaled_for_each_law_of_the_inputs(studied, network):
    laws = [{"domain": "ball", "radius": 1.5}, {"domain": "cube"}, {}]
    result = studied([network(0.1, 0, 16, **law) for law in laws])
    assert result.tables["scalings"]["domain"].to_list() == ["ball", "cube", "l1_ball"]
    assert result.tables["scalings"]["sharpness"].n_unique() == 3


def test_report_says_what_norm_an_error_needs_and_how_flat_the_witness_can_be(studied, both):
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
    witness = result.tables["scalings"].row(0, named=True)
    assert witness["sharpness"] == pytest.approx(Witness(points).scaled().sharpness)
    assert witness["flattest_sharpness"] < witness["sharpness"]


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


def test_data_whose_solver_gives_up_have_no_floor_and_are_named(studied, both, monkeypatch):
    def gives_up(*_):
        raise RuntimeError("numerical difficulties")

    monkeypatch.setattr("relusweep.analysis.floor.certificate.least_rms", gives_up)
    monkeypatch.setattr("relusweep.analysis.floor.certificate.least_sup", gives_up)
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
