"""The fused kernel against autograd on each run alone, against the reference kernel, and bit for bit against itself."""

import math

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from relusweep.sweep.data import dataset
from relusweep.sweep.kernels.training import fused, plain
from relusweep.sweep.model import initial_parameters
from relusweep.sweep.optimize import draw_batches
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.train import Training
from tests import oracles

CPU = torch.device("cpu")
LEAKY = {"activation": "leaky_relu", "negative_slope": 0.2}


def make(count=5, **parameters):
    base = {"problem": "sine", "init": "normal", "output_scale": 0.5, "max_steps": 12}
    rates = [{"seed": s, "lr": 0.02 * (1 + s % 3)} for s in range(count)]
    return tuple(Run.model_validate(base | rate | parameters) for rate in rates)


def trained(runs, kernel=fused):
    training = Training(Pack(tuple(runs)), CPU)
    training.kernel = kernel
    training.advance(runs[0].max_steps, lambda: None)
    return training


def by_id(training, name="theta"):
    return {
        training.runs[p].id: row
        for p, row in zip(training.state["position"].tolist(), training.state[name], strict=True)
    }


def various(runs):
    """The same runs with all that may differ within a pack, among it what most packs have none of."""
    return tuple(
        run.model_copy(update={
            "data_seed": run.seed % 3, "weight_decay": 0.1 * (run.seed % 2), "lr_ratio": (1.0, 0.3, math.inf)[run.seed % 3],
            "warmup_steps": 5 * (run.seed % 4 == 2),
        })
        for run in runs
    )  # fmt: skip


SHAPES = [  # every branch of the templates: both axes, remainders of blocks, one of everything
    {"d": 1, "n": 1, "width": 1},
    {"d": 1, "n": 1, "width": 1, "bias": False, **LEAKY},
    {"d": 2, "n": 13, "width": 64},
    {"d": 2, "n": 130, "width": 65},
    {"d": 3, "n": 7, "width": 17, "bias": False},
    {"d": 5, "n": 6, "width": 33, **LEAKY},
    {"d": 9, "n": 130, "width": 20},
    {"d": 2, "n": 300, "width": 3, "bias": False},
    {"d": 1, "n": 3, "depth": 2, "width": 1, "width2": 1},
    {"d": 2, "n": 20, "depth": 2, "width": 16, "width2": 8},
    {"d": 3, "n": 140, "depth": 2, "width": 5, "width2": 3, "bias": False},
    {"d": 12, "n": 9, "depth": 2, "width": 9, "width2": 7, **LEAKY},
]
RULES = [
    {},
    {"optimizer": "sgd", "batch_size": 1},
    {"optimizer": "momentum", "momentum": 0.8, "weight_decay": 0.1, "lr_ratio": 0.3},
    {
        "optimizer": "momentum",
        "momentum": 0.5,
        "batch_size": 1,
        "warmup_steps": 5,
        "weight_decay": 0.1,
        "decay_bias": True,
    },
]


def against_autograd(runs, rtol=1e-11, kernel=fused):
    training = trained(runs, kernel)
    for run in runs:
        data = dataset(run.model_dump())
        x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
        batches = None
        if run.batch_size:
            batches = list(draw_batches(torch.tensor([run.seed]), 0, run.max_steps, run.n, run.batch_size)[:, 0])
        weights = oracles.weights_of(initial_parameters(run), run)
        got = oracles.weights_of(by_id(training)[run.id].double().numpy(), run)
        for name, expected in oracles.train(run, weights, x, y, batches).items():
            torch.testing.assert_close(got[name], expected, rtol=rtol, atol=rtol)
    return training


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_autograd_on_each_run_alone(shape):
    against_autograd(make(**shape))


@pytest.mark.parametrize("shape", [SHAPES[4], SHAPES[11]], ids=str)
@pytest.mark.parametrize("rule", RULES[1:], ids=str)
def test_every_rule_equals_torch_optim(shape, rule):
    batch = {"batch_size": shape["n"] // 2 + 1} if "batch_size" in rule else {}
    against_autograd(make(**shape | rule | batch))


@settings(deadline=None, max_examples=10, derandomize=True, phases=[Phase.generate])  # shrinking compiles for hours
@given(
    st.fixed_dictionaries({
        "d": st.integers(1, 16), "n": st.integers(1, 150), "width": st.integers(1, 40), "bias": st.booleans(),
        "dtype": st.sampled_from(["float32", "float64"]),
    }),
    st.sampled_from([{}, {"depth": 2, "width2": 1}, {"depth": 2, "width2": 11}]),
    st.sampled_from([{}, LEAKY]),
    st.sampled_from(RULES[:3]),
)  # fmt: skip
def test_random_shapes_equal_autograd(shape, depth, activation, rule):
    small = {"init": "kaiming", "max_steps": 5}
    against_autograd(
        make(3, **shape | depth | activation | rule | small), 1e-11 if shape["dtype"] == "float64" else 1e-4
    )


@pytest.mark.parametrize("rule", [{}, {"optimizer": "sgd", "batch_size": 5}], ids=str)
@pytest.mark.parametrize("depth", [{"width": 20}, {"depth": 2, "width": 7}], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_is_the_same_bit_for_bit_in_any_pack(rule, depth, dtype):
    """Alone, among 7 and among 1000, which are tiles of 256; with data and rules of its own or shared; in any windows."""
    shared = make(1000, n=11, d=2, dtype=dtype, init="kaiming", **rule | depth)
    own = various(shared[:7])
    for runs, parts in ((shared, (shared[:7], shared[7:8], shared[900:])), (own, (*((run,) for run in own), own[4:]))):
        whole = by_id(trained(runs))
        for part in parts:
            assert all(torch.equal(row, whole[run_id]) for run_id, row in by_id(trained(part)).items())
        pieces = Training(Pack(runs[::-1]), CPU)
        for stop in (1, 5, 12):
            pieces.advance(stop, lambda: None)
        assert all(torch.equal(row, whole[run_id]) for run_id, row in by_id(pieces).items())


def test_losses_do_not_depend_on_the_pack_and_are_those_of_the_reference():
    runs = make(40, n=30, d=2, width=20, n_test=0)
    training = trained(runs)
    losses = training.losses(slice(None))
    rows = [float(training.losses(slice(i, i + 1))) for i in range(40)]
    assert rows == losses.tolist()
    torch.testing.assert_close(
        losses,
        plain.losses(runs[0], training.state["theta"], training.rates(slice(None)), *training.inputs(slice(None))),
    )


@pytest.mark.parametrize("depth", [{}, {"depth": 2}], ids=str)
def test_divergence_is_met_as_by_the_reference_and_stays_with_its_run(depth):
    runs = (
        *make(2, n=6, width=20, max_steps=400, **depth),
        *make(1, n=6, width=20, max_steps=400, **depth | {"lr": 90.0}),
    )
    fast, slow = trained(runs), trained(runs, plain)
    peaks, expected = by_id(fast, "peak"), by_id(slow, "peak")
    for run in runs:
        assert bool(peaks[run.id].isfinite()) == bool(expected[run.id].isfinite()) == (run.lr != 90.0)
        assert bool(by_id(fast)[run.id].isfinite().all()) == (run.lr != 90.0)


def test_dead_networks_stay_dead():
    run = make(1, n=6, width=20, problem="noise", lr=0.1)[0]
    training = Training(Pack((run,)), CPU)
    first = training.state["theta"][0, :60].view(20, 3)
    first[:, :2], first[:, 2] = 0.0, -1.0
    before = training.state["theta"].clone()
    training.advance(12, lambda: None)
    assert torch.equal(training.state["theta"][:, :-1], before[:, :-1])  # only the output bias has a gradient
    assert training.state["theta"][0, -1] != before[0, -1]
