"""The step that a GPU replays, taken on the CPU: equal to the reference's, in memory that stays where it is."""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from relusweep.sweep.kernels.training import graphed, plain
from tests.sweep.kernels.training.cases import CPU, LEAKY, against_autograd, begun, by_id, make, trained

pytestmark = pytest.mark.slow

CASES = [
    {}, LEAKY, {"depth": 2, "width2": 4, "bias": False}, {"bias": "hidden"}, {"optimizer": "momentum", "momentum": 0.9},
    {"optimizer": "adam", "lr": 0.01}, {"optimizer": "sgd", "batch_size": 3}, {"weight_decay": 0.1, "warmup_steps": 7},
]  # fmt: skip
SHAPE = {"d": 3, "n": 7, "width": 5, "max_steps": 12}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_autograd_and_the_reference(case):
    runs = make(4, **SHAPE | case)
    against_autograd(runs, graphed)
    expected = by_id(trained(runs, plain))
    for run_id, row in by_id(trained(runs, graphed)).items():
        torch.testing.assert_close(row, expected[run_id], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_moves_no_memory_and_looks_at_no_value(case):
    """Or a replay would go on in memory that is no longer the run's, or with what it saw when it was captured."""
    runs = make(4, **SHAPE | case)
    step = graphed.Step(begun(runs, graphed).tile(slice(None)))
    held = [step.tile.theta, *step.tile.buffers, step.tile.peak, step.number]
    places, before = [tensor.data_ptr() for tensor in held], [tensor.clone() for tensor in held]
    step.take()
    assert [tensor.data_ptr() for tensor in held] == places
    assert all(not torch.equal(tensor, old) for tensor, old in zip(held, before, strict=True))
    with FakeTensorMode(allow_non_fake_inputs=True):  # tensors without values
        step.take()
        with pytest.raises(DataDependentOutputException):
            (step.number.clone() + 1).item()


def test_runs_that_are_taken_out_end_the_use_of_their_memory():
    runs = make(4, **SHAPE)
    training = begun(runs, graphed)
    training.advance(3, lambda: None)
    first = graphed._kept()[0]
    training.advance(5, lambda: None)
    assert graphed._kept()[0] is first
    training.go_on(torch.tensor([True, False, True, True]), training.state["passes"])
    training.advance(12, lambda: None)
    assert graphed._kept()[0] is not first
    expected = by_id(trained(runs, plain))
    for run_id, row in by_id(training).items():
        torch.testing.assert_close(row, expected[run_id], rtol=1e-12, atol=1e-14)


def test_serves_gpus_alone():
    run = make(1, **SHAPE)[0]
    assert graphed.supports(run, torch.device("cuda"))
    assert not graphed.supports(run, CPU)
    assert graphed.tile_size(run, torch.device("cuda")) == plain.tile_size(run, torch.device("cuda"))
