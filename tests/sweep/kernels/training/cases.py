"""Runs of every kind that kernels train, and what they are held against: autograd on each run alone."""

import math

import torch

from relusweep.sweep.data import dataset
from relusweep.sweep.model import initial_parameters
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.sampling import draw_batches
from relusweep.sweep.train import Training
from tests import oracles

CPU = torch.device("cpu")
LEAKY = {"activation": "leaky_relu", "negative_slope": 0.2}

SHAPES = [  # every branch of the fused programs: both axes, remainders of blocks, one of everything
    {"d": 1, "n": 1, "width": 1},
    {"d": 1, "n": 1, "width": 1, "bias": False, **LEAKY},
    {"d": 2, "n": 13, "width": 64},
    {"d": 2, "n": 130, "width": 65},
    {"d": 3, "n": 7, "width": 17, "bias": False},
    {"d": 5, "n": 6, "width": 33, **LEAKY},
    {"d": 9, "n": 130, "width": 20},
    {"d": 2, "n": 13, "width": 65, "bias": "hidden"},
    {"d": 3, "n": 9, "width": 5, "bias": "hidden"},
    {"d": 2, "n": 300, "width": 3, "bias": False},
    {"d": 1, "n": 3, "depth": 2, "width": 1, "width2": 1},
    {"d": 2, "n": 20, "depth": 2, "width": 16, "width2": 8},
    {"d": 3, "n": 140, "depth": 2, "width": 5, "width2": 3, "bias": False},
    {"d": 2, "n": 9, "depth": 2, "width": 5, "width2": 3, "bias": "hidden"},
    {"d": 12, "n": 9, "depth": 2, "width": 9, "width2": 7, **LEAKY},
]


def make(count=5, **parameters):
    """Runs of a shape with seeds and rates of their own, of 12 steps."""
    base = {"problem": "sine", "init": "normal", "output_scale": 0.5, "max_steps": 12}
    rates = [{"seed": s, "lr": 0.02 * (1 + s % 3)} for s in range(count)]
    return tuple(Run.model_validate(base | rate | parameters) for rate in rates)


def various(runs):
    """The same runs with all that may differ within a pack, among it what most packs have none of."""
    return tuple(
        run.model_copy(update={
            "data_seed": run.seed % 3, "weight_decay": 0.1 * (run.seed % 2), "lr_ratio": (1.0, 0.3, math.inf)[run.seed % 3],
            "warmup_steps": 5 * (run.seed % 4 == 2), "clip": (None, 0.1, 10.0)[run.seed % 3],
            "schedule": ("constant", "cosine", "linear", "step")[run.seed % 4],
            "schedule_every": 4 if run.seed % 4 == 3 else None, "schedule_factor": 0.5 if run.seed % 4 == 3 else None,
        })
        for run in runs
    )  # fmt: skip


def rules(batches=1):
    """Update rules with everything that they can have, mini-batches among it."""
    decayed = {"weight_decay": 0.1, "lr_ratio": 0.3}
    both = {"batch_size": batches, "warmup_steps": 5, "weight_decay": 0.1, "decay_bias": True}
    return [
        {},
        {"optimizer": "sgd", "batch_size": batches},
        {"optimizer": "momentum", "momentum": 0.8, **decayed},
        {"optimizer": "momentum", "momentum": 0.5, **both},
        {"optimizer": "nesterov", "momentum": 0.7, "clip": 0.3, "schedule": "cosine", **decayed},
    ]


def samplings(batches=1):
    """Mini-batches of the other kinds."""
    return [{"optimizer": "sgd", "batch_size": batches, "sampling": kind} for kind in ("replacement", "epoch")]


def begun(runs, kernel):
    """The training of a pack by this kernel, at its first step."""
    training = Training(Pack(tuple(runs)), CPU)
    training.kernel = kernel
    return training


def trained(runs, kernel):
    """The training of a pack by this kernel, at its last step."""
    training = begun(runs, kernel)
    training.advance(runs[0].max_steps, lambda: None)
    return training


def by_id(training, name="theta"):
    """A tensor of the state, row by row."""
    return {
        training.runs[p].id: row
        for p, row in zip(training.state["position"].tolist(), training.state[name], strict=True)
    }


def against_autograd(runs, kernel, rtol=1e-11):
    """Assert that the kernel trains each run as torch.optim does alone."""
    training = trained(runs, kernel)
    for run in runs:
        data = dataset(run.model_dump())
        x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
        batches = None
        if run.batch_size:
            batches = list(
                draw_batches(torch.tensor([run.seed]), 0, run.max_steps, run.n, run.batch_size, run.sampling)[:, 0]
            )
        weights = oracles.weights_of(initial_parameters(run), run)
        got = oracles.weights_of(by_id(training)[run.id].double().numpy(), run)
        for name, expected in oracles.train(run, weights, x, y, batches).items():
            torch.testing.assert_close(got[name], expected, rtol=rtol, atol=rtol)
    return training


def assert_windows_and_packs_do_not_matter(runs, parts, stops, kernel):
    """Assert that a run is the same bit for bit in each of these parts of its pack, in another order and windows."""
    whole = by_id(trained(runs, kernel))
    for part in parts:
        assert all(torch.equal(row, whole[run_id]) for run_id, row in by_id(trained(part, kernel)).items())
    pieces = begun(runs[::-1], kernel)
    for stop in stops:
        pieces.advance(stop, lambda: None)
    assert all(torch.equal(row, whole[run_id]) for run_id, row in by_id(pieces).items())


def assert_dead_networks_stay_dead(kernel, steps):
    """Assert that of a network without active units only the output bias moves."""
    training = begun(make(1, d=2, n=6, width=20, problem="noise", lr=0.1), kernel)
    first = training.state["theta"][0, :60].view(20, 3)
    first[:, :2], first[:, 2] = 0.0, -1.0
    before = training.state["theta"].clone()
    training.advance(steps, lambda: None)
    assert torch.equal(training.state["theta"][:, :-1], before[:, :-1])  # only the output bias has a gradient
    assert training.state["theta"][0, -1] != before[0, -1]
