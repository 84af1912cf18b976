"""Verdicts of the depth study on planted runs: what they claim, what they do not, and the alarms."""

import pytest

from relusweep.analysis.witness import Witness
from relusweep.sweep.data import dataset
from relusweep.sweep.run import Run
from tests.analysis.studies.conftest import verdict
from tests.analysis.studies.depth_separation.conftest import CLAIM, CONSTANT, FLOOR, RATES


@pytest.mark.slow
def test_separation_is_found_with_its_critical_step_sizes(studied, both):
    result = studied(both([0.9, 0.9, 0.9, 1.5]))
    found = verdict(result, CLAIM)
    assert (found.answer, found.about) == ("yes", "finding")
    assert "fails in 7 of 8 pairs of runs whose deep one fits (87.5 %)" in found.sentence
    assert "the medians lie between 0.4 and 0.9" in found.sentence
    row = result.tables["critical"].row(0, named=True)
    assert (row["pairs"], row["separated"], row["low"], row["high"]) == (4, 4, 0.4, 0.9)
    assert row["ratio"] == pytest.approx(0.9 / 0.4)
    assert (row["low_q10"], row["high_q90"]) == (0.4, 1.5)


@pytest.mark.slow
def test_no_separation_is_said_loudly(studied, both):
    result = studied(both(9.0))
    found = verdict(result, CLAIM)
    assert found.answer == "no"
    assert found.sentence.startswith("NO SEPARATION: ")
    assert result.tables["critical"]["separated"].to_list() == [0]
    assert "critical" not in result.figures


@pytest.mark.slow
def test_where_no_deep_network_fits_nothing_is_claimed(studied, network):
    result = studied([network(lr, seed, w, 0.5 * CONSTANT) for lr in RATES for seed in range(2) for w in (None, 16)])
    assert verdict(result, CLAIM).answer == "open"
    assert result.tables["critical"]["high"].null_count() == 1


@pytest.mark.slow
def test_separation_that_the_floor_proves_is_a_case_of_its_own(studied, both):
    result = studied(both(0.4))
    controls = result.tables["controls"].filter(control="claim").row(0, named=True)
    assert 0 < controls["forbidden"] < controls["separated"]
    sentence = verdict(result, CLAIM).sentence
    assert f"; in {controls['forbidden']} of these, by certificate, no shallow network fits at a twice " in sentence


@pytest.mark.slow
def test_pair_that_fits_where_it_is_forbidden_is_counted_and_named(studied, both):
    result = studied(both(9.0, rates=(0.4, 1.5)))  # shallow fits everywhere
    row = result.tables["controls"].filter(control="claim").row(0, named=True)
    assert (row["forbidden"], row["forbidden_fits"]) == (0, 4)
    assert "In 4 pairs it fits all the same where none does at such a minimum." in verdict(result, CLAIM).sentence


@pytest.mark.slow
def test_run_below_its_floor_is_an_alarm_and_is_listed(studied, both, network):
    planted = network(1.5, 9, loss=1e-8)
    result = studied([*both(0.9), planted])
    found = verdict(result, FLOOR)
    assert (found.level, found.about) == ("refuted", "theorem")
    assert found.sentence.startswith("BEATEN by 1 of ")
    assert result.tables["below_floor"]["run_id"].to_list() == [planted["run_id"]]


@pytest.mark.slow
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


@pytest.mark.slow
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
