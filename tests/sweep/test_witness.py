"""Witness: the pyramid as a network, and what gradient descent does when it starts there."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from relusweep.analysis.witness import Witness
from relusweep.sweep.data import dataset
from relusweep.sweep.execute import execute
from relusweep.sweep.model import initial_parameters
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from tests import oracles


def run(**parameters) -> Run:
    base = {"problem": "pyramid", "depth": 2, "width": 7, "width2": 3, "init": "witness", "lr": 1.0}
    return Run.model_validate(base | parameters)


@pytest.mark.parametrize("d", [1, 2, 3, 8])
@pytest.mark.parametrize(("a", "s"), [(1.0, 1.0), (0.4, 2.5)])
def test_witness_is_the_pyramid_at_every_scaling_with_units_to_spare(d, a, s):
    start = run(d=d, width=2 * d + 3, init_scale=s, output_scale=a)
    data = dataset(start.model_dump())
    weights = oracles.weights_of(initial_parameters(start), start)
    assert float(oracles.loss(weights, torch.from_numpy(data.x), torch.from_numpy(data.y))) < 1e-30
    assert float(oracles.loss(weights, torch.from_numpy(data.x_test), torch.from_numpy(data.y_test))) < 1e-30


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"problem": "sine"}, "problem = 'sine'; init = 'witness' needs problem = 'pyramid'"),
        ({"depth": 1, "width2": None}, "depth = 1; init = 'witness' needs depth = 2"),
        ({"d": 4}, "width = 7; init = 'witness' needs at least 2d = 8 units"),
        ({"bias": False}, "bias = False; init = 'witness' needs bias = True"),
        ({"activation": "leaky_relu"}, "activation = 'leaky_relu'; init = 'witness' needs activation = 'relu'"),
        ({"output_scale": 0.0}, "output_scale = 0.0; init = 'witness' takes it for the output weight a, above 0"),
    ],
)
def test_runs_that_cannot_start_there_are_refused(parameters, message):
    with pytest.raises(ValidationError, match=message):
        run(**parameters)


def test_gradient_descent_stays_below_the_largest_stable_step_and_leaves_above(unchecked_shapes):
    """Label noise of 1e-6 pushes it off: below 2/λ it settles next to the witness, above it ends somewhere flatter."""
    shares = (0.5, 0.95, 1.05)
    for a, s in ((1.0, 1.0), (0.5, 2.5)):
        base = {"noise": 1e-6, "max_steps": 800, "tolerance": 0.0, "init_scale": s, "output_scale": a}
        scaling = Witness(dataset(run(**base).model_dump()).x).scaled(a, s)
        pack = Pack(tuple(run(**base, lr=scaling.lr * share) for share in shares))
        rows = execute(pack, Measure(), torch.device("cpu"), "test")["runs"].to_pylist()
        for row in rows:
            stays = row["lr"] < scaling.lr
            assert (row["train_rmse"] < 1e-6) == stays
            if stays:
                assert row["sharpness"] == pytest.approx(scaling.sharpness, rel=1e-5)
            else:
                assert row["sharpness"] < 0.99 * scaling.sharpness
        assert len(rows) == len(shares)


def test_spare_units_stay_dead(unchecked_shapes):
    start = run(noise=1e-6, max_steps=50, tolerance=0.0)
    tables = execute(Pack((start,)), Measure(save_weights=True), torch.device("cpu"), "test")
    (row,) = tables["weights"].to_pylist()
    w1, w2 = np.reshape(row["w1"], (7, 2)), np.reshape(row["w2"], (3, 7))
    assert np.all(w1[4:] == 0)
    assert np.all(w2[1:] == 0)
    assert np.all(np.asarray(row["w3"])[1:] == 0)
    assert np.any(w1[:4] != [[1, 0], [0, 1], [-1, 0], [0, -1]])  # while the others moved
