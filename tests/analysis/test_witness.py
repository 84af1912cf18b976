"""Witness: its sharpness against the dense Hessian, and its flattest scaling."""

import numpy as np
import pytest
import torch

from relusweep.analysis.witness import Witness
from relusweep.sweep.data import dataset, inputs
from relusweep.sweep.model import initial_parameters
from relusweep.sweep.run import Run
from tests import oracles


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("a", "s"), [(1.0, 1.0), (0.4, 2.5)])
def test_sharpness_is_that_of_the_dense_hessian(d, a, s):
    run = Run.model_validate(
        {"problem": "pyramid", "d": d, "n": 40, "depth": 2, "width": 2 * d, "width2": 1, "init": "witness", "lr": 1.0}
        | {"init_scale": s, "output_scale": a}
    )
    data = dataset(run.model_dump())
    weights = oracles.weights_of(initial_parameters(run), run)
    hessian = oracles.hessian(weights, torch.from_numpy(data.x), torch.from_numpy(data.y))
    scaling = Witness(data.x).scaled(a, s)
    assert scaling.sharpness == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-10)
    assert scaling.lr == pytest.approx(2 / scaling.sharpness)


@pytest.mark.parametrize(
    ("law", "radius", "d", "unit", "best"),
    [
        ("cube", 1.0, 2, 1.85, 1.33),
        ("ball", 1.0, 3, 1.47, 1.107),
        ("l1_ball", 0.3 ** (-1 / 3), 3, 1.413, 1.093),
        ("l1_ball", 0.3 ** (-1 / 8), 8, 1.996, 1.048),
    ],
)
def test_sharpness_at_unit_and_at_best_scaling(law, radius, d, unit, best):
    witness = Witness(inputs(law, radius, d, 40_000, np.random.default_rng(0)))
    assert witness.scaled().sharpness == pytest.approx(unit, rel=0.02)
    assert witness.flattest().sharpness == pytest.approx(best, rel=0.02)


@pytest.mark.parametrize("d", [1, 2, 4])
def test_no_other_scaling_is_flatter(d):
    rng = np.random.default_rng(d)
    witness = Witness(inputs("l1_ball", 0.3 ** (-1 / d), d, 300, rng))
    best = witness.flattest()
    assert best.sharpness < witness.scaled().sharpness
    for a, s in np.exp(rng.normal(0, 1, (200, 2))):
        assert witness.scaled(a, s).sharpness >= best.sharpness * (1 - 1e-12)
    for a, s in [(1.01, 1), (0.99, 1), (1, 1.01), (1, 0.99)]:
        assert witness.scaled(best.a * a, best.s * s).sharpness > best.sharpness


def test_data_outside_the_pyramid_see_the_output_bias_alone():
    points = np.array([[2.0, 1.0], [0.9, -0.9]])
    assert Witness(points).scaled().sharpness == pytest.approx(1)
