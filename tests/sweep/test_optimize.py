"""Optimize: every update rule against torch.optim, one network at a time."""

import math

import numpy as np
import pytest
import torch

from relusweep.sweep import optimize
from relusweep.sweep.model import Architecture, initial_parameters
from relusweep.sweep.optimize import Rates, update
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.sampling import draw_batches, label_noise
from relusweep.sweep.train import Training
from tests import oracles

RULES = [
    {"optimizer": "gd"},
    {"optimizer": "sgd", "batch_size": 3},
    {"optimizer": "momentum", "momentum": 0.9},
    {"optimizer": "momentum", "momentum": 0.5, "batch_size": 4},
    {"optimizer": "adam"},
    {"optimizer": "adam", "batch_size": 4},
    {"optimizer": "adam", "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3},
    {"optimizer": "adamw"},
    {"optimizer": "nesterov", "momentum": 0.8},
]
TWISTS = [
    {},
    {"depth": 2, "width2": 3},
    {"bias": False},
    {"bias": "hidden"},
    {"activation": "leaky_relu", "negative_slope": 0.2},
    {"lr_ratio": 0.3, "weight_decay": 0.05, "warmup_steps": 20},
    {"depth": 2, "width2": 3, "lr_ratio": 2.0, "weight_decay": 0.05, "decay_bias": True},
    {"lr_ratio": 0.0},
    {"lr_ratio": math.inf},
    {"clip": 0.05, "schedule": "cosine", "warmup_steps": 20},
    {"schedule": "linear", "weight_decay": 0.05},
    {"schedule": "step", "schedule_every": 7, "schedule_factor": 0.5, "clip": 1.0},
    {"label_noise": 0.3},
]


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("twist", TWISTS, ids=str)
def test_packed_training_equals_torch_optim_on_each_run_alone(rule, twist):
    base = {"problem": "sine", "n": 9, "d": 2, "width": 6, "max_steps": 60, **rule, **twist}
    runs = [Run.model_validate(base | {"lr": lr, "seed": seed}) for seed, lr in enumerate((0.01, 0.03, 0.1))]
    training = Training(Pack(tuple(runs)), torch.device("cpu"))
    x, y = (tensor[0] for tensor in training._train)
    training.advance(60, lambda: None)
    for row, run in enumerate(training.runs):
        batches = None
        if run.batch_size:
            batches = list(draw_batches(torch.tensor([run.seed]), 0, 60, run.n, run.batch_size)[:, 0])
        noises = None
        if run.label_noise:
            seen = [torch.arange(run.n)] * 60 if batches is None else batches
            seed, sigma = torch.tensor([run.seed]), run.label_noise
            noises = [sigma * label_noise(seed, step, rows[None], run.n)[0] for step, rows in enumerate(seen)]
        start = oracles.weights_of(initial_parameters(run), run)
        expected = oracles.train(run, start, x[:, :2], y, batches, noises)
        got = oracles.weights_of(training.state["theta"][row].numpy(), run)
        for name, w in expected.items():
            torch.testing.assert_close(got[name], w, rtol=1e-10, atol=1e-12, msg=f"{name} of {run.lr}")


def test_optimizer_without_a_rule_is_refused_and_nothing_moves():
    run = Run.model_validate({"problem": "sine", "lr": 0.1})
    rates = Rates.of([run], Architecture.of(run), torch.float64, torch.device("cpu"))
    theta = torch.ones(1, 3).double()
    with pytest.raises(
        ValueError, match="optimizer = 'lion': no update rule; expected one of gd, sgd, momentum, nesterov"
    ):
        update("lion", theta, (), torch.ones_like(theta), rates, 0, None)
    assert torch.equal(theta, torch.ones_like(theta))


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
def test_heavy_ball_is_stable_on_a_quadratic_up_to_twice_one_plus_momentum_over_lr(momentum):
    lr = 0.2
    run = Run.model_validate({"problem": "sine", "optimizer": "momentum", "momentum": momentum, "lr": lr})
    rates = Rates.of([run, run], Architecture.of(run), torch.float64, torch.device("cpu"))
    for share in (0.01, 0.5, 0.99, 1.01, 1.5):
        curvature = share * 2 * (1 + momentum) / lr
        theta, m = torch.tensor([[1.0], [0.0]]).double(), torch.tensor([[0.0], [1.0]]).double()  # (θ, m) of two runs
        update("momentum", theta, (m,), curvature * theta, rates, 0, None)
        step = torch.cat([theta, m], 1).T.numpy()
        np.testing.assert_allclose(step, oracles.heavy_ball(curvature, lr, momentum), rtol=1e-12, atol=1e-12)
        assert (oracles.growth(step) < 1) == (share < 1)


def test_frozen_layers_do_not_move():
    for ratio, frozen, moving in ((0.0, "w2", "w1"), (math.inf, "w1", "w2")):
        run = Run.model_validate({"problem": "sine", "lr": 0.1, "lr_ratio": ratio, "width": 4, "max_steps": 10})
        training = Training(Pack((run,)), torch.device("cpu"))
        training.advance(10, lambda: None)
        before = oracles.weights_of(initial_parameters(run), run)
        after = oracles.weights_of(training.state["theta"][0].numpy(), run)
        assert torch.equal(before[frozen], after[frozen])
        assert not torch.equal(before[moving], after[moving])


def test_full_batch_drawn_as_a_mini_batch_is_gd():
    ends = []
    for rule in ({"optimizer": "gd"}, {"optimizer": "sgd", "batch_size": 9}):
        run = Run.model_validate({"problem": "sine", "n": 9, "lr": 0.1, "width": 5, "max_steps": 50} | rule)
        training = Training(Pack((run,)), torch.device("cpu"))
        training.advance(50, lambda: None)
        ends.append(training.state["theta"])
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-13)


def test_every_rule_is_among_those_that_are_tried_here():
    assert {rule["optimizer"] for rule in RULES} == optimize.RULES.keys()
