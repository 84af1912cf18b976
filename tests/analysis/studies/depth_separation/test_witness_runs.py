"""Witness runs of the depth study: which are expected to stay, and how flat the witness can be."""

import pytest

from relusweep.analysis.witness import Witness
from relusweep.sweep.data import dataset
from relusweep.sweep.run import Run
from tests.analysis.studies.conftest import verdict


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


@pytest.mark.slow
def test_flattest_witness_is_flatter_than_at_unit_scaling(studied, both):
    result = studied(both(0.9))
    points = dataset(Run.model_validate({"problem": "pyramid", "n": 20, "lr": 1.0}).model_dump()).x
    witness = result.tables["scalings"].row(0, named=True)
    assert witness["sharpness"] == pytest.approx(Witness(points).scaled().sharpness)
    assert witness["flattest_sharpness"] < witness["sharpness"]
