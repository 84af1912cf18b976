"""Model: outputs and gradients against autograd, one network at a time; laws of the initial values."""

import numpy as np
import pytest
import torch

from relusweep.sweep.model import Architecture, forward, gradient, initial_parameters, with_ones
from relusweep.sweep.run import Run
from tests.oracles import loss, output, weights_of
from tests.sweep.cases import CASES, networks


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_equal_those_of_each_network_alone(case):
    runs, architecture, theta, x, _, slope = networks(case)
    _, _, got = forward(architecture, theta, with_ones(x, runs[0].bias), slope)
    for b, run in enumerate(runs):
        alone = output(weights_of(theta[b].numpy(), run), x[b], 0.0 if slope is None else float(slope[b]))
        torch.testing.assert_close(got[b], alone, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("shared", [True, False])
def test_gradient_equals_autograd(case, shared):
    runs, architecture, theta, x, y, slope = networks(case)
    inputs = with_ones(x[0] if shared else x, runs[0].bias)
    g, losses = gradient(architecture, theta, inputs, y, slope)
    for b in range(len(runs)):
        leaf = theta[b].clone().requires_grad_()
        s = 0.0 if slope is None else float(slope[b])
        weights = {name: w[0] for name, w in architecture.named(leaf[None]).items()}
        alone = loss(weights, x[0] if shared else x[b], y[b], s)
        (expected,) = torch.autograd.grad(alone, leaf)
        torch.testing.assert_close(g[b], expected, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(losses[b], alone.detach(), rtol=1e-13, atol=1e-13)


def test_named_weights_are_the_rows_of_the_layers():
    runs, architecture, theta, *_ = networks({"depth": 2, "width": 5, "width2": 4, "d": 3})
    for b, run in enumerate(runs):
        for name, w in weights_of(theta[b].numpy(), run).items():
            torch.testing.assert_close(architecture.named(theta)[name][b], w)


def test_count_and_bias_mask_agree_with_the_architecture():
    architecture = Architecture((3, 5, 4, 1), bias=True, output_bias=True)
    assert architecture.count == 5 * 4 + 4 * 6 + 5
    assert int(architecture.is_bias().sum()) == 5 + 4 + 1
    assert int(Architecture((3, 5, 1), bias=False, output_bias=False).is_bias().sum()) == 0


@pytest.mark.parametrize(
    ("init", "spread", "bias_spread"),
    [("pytorch", np.sqrt(1 / 3 / 50), np.sqrt(1 / 3 / 50)), ("kaiming", np.sqrt(2 / 50), 0), ("lecun", np.sqrt(1 / 50), 0),
     ("xavier", np.sqrt(2 / 450), 0), ("normal", 1, 1)],
)  # fmt: skip
def test_initial_weights_have_the_stated_spread(init, spread, bias_spread):
    run = Run.model_validate({"problem": "sine", "d": 50, "width": 400, "lr": 0.1, "init": init, "init_scale": 3.0})
    weights = weights_of(initial_parameters(run), run)
    assert weights["w1"].std() == pytest.approx(3 * spread, rel=0.03)
    assert weights["b1"].std() == pytest.approx(3 * bias_spread, rel=0.15)


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_of_balanced_weights_are_as_large_as_their_units_and_of_dominated_ones_larger(bias):
    shape = {"problem": "sine", "d": 3, "width": 4000, "bias": bias, "lr": 0.1, "init_scale": 0.5}
    drawn = {}
    for init in ("balanced", "dominated"):
        run = Run.model_validate(shape | {"init": init})
        weights = weights_of(initial_parameters(run), run)
        rows = torch.cat([weights["w1"], weights["b1"][:, None]], 1) if bias else weights["w1"]
        assert float(rows.std()) == pytest.approx(0.5 / np.sqrt(4000), rel=0.03)
        assert abs(float(weights["w2"].sign().mean())) < 4.5 / np.sqrt(4000)
        assert float(weights.get("b2", torch.tensor(0.0))) == 0
        drawn[init] = weights["w2"].abs() / rows.norm(dim=1)
    torch.testing.assert_close(drawn["balanced"], torch.ones(4000).double())
    assert bool((drawn["dominated"] > 1).all())


def test_output_scale_acts_on_the_output_weights_alone():
    plain = Run.model_validate({"problem": "sine", "lr": 0.1, "depth": 2})
    scaled = Run.model_validate({"problem": "sine", "lr": 0.1, "depth": 2, "output_scale": 0.25})
    one, two = (weights_of(initial_parameters(run), run) for run in (plain, scaled))
    assert torch.equal(two["w3"], one["w3"] / 4)
    assert all(torch.equal(two[name], one[name]) for name in one if name != "w3")


def test_initial_weights_depend_on_the_seed_and_not_on_the_step_size():
    a, b, c = (Run.model_validate({"problem": "sine"} | p) for p in ({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.1, "seed": 1}))
    np.testing.assert_array_equal(initial_parameters(a), initial_parameters(b))
    assert not np.array_equal(initial_parameters(a), initial_parameters(c))
