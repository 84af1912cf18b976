"""Which kernel trains which runs; a new optimizer is trained by none that was not taught it."""

from typing import get_args

import pytest
import torch

from relusweep.sweep.kernels.training import blas, fused, graphed, persistent, plain
from relusweep.sweep.kernels.training.choice import KERNELS, choose
from relusweep.sweep.kernels.training.kernel import Kernel
from relusweep.sweep.optimize import RULES
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import PARAMETERS, Run
from relusweep.sweep.shape import BUFFERS, SHAPE_KEYS
from relusweep.sweep.train import Training
from tests.sweep.kernels.training.cases import CPU, make

GPU = torch.device("cuda")
NAMES = {"ids": lambda kernel: kernel.NAME}


@pytest.mark.parametrize("kernel", KERNELS, **NAMES)
def test_every_kernel_keeps_the_contract(kernel):
    assert isinstance(kernel, Kernel)
    assert kernel.tile_size(make(1)[0], CPU) >= 1
    assert kernel.tile_size(make(1, n=10**6, width=10**4, d=10**3)[0], CPU) >= 1


@pytest.mark.parametrize(
    ("case", "kernel"),
    [
        ({}, fused),
        ({"depth": 2}, fused),
        ({"optimizer": "momentum", "momentum": 0.9}, fused),
        ({"optimizer": "adam"}, plain),
        ({"d": 17}, blas),
        ({"depth": 2, "width": 64, "width2": 32}, blas),
        ({"d": 17, "optimizer": "adam"}, plain),
    ],
    ids=str,
)
def test_first_kernel_that_supports_the_shape_trains_it(case, kernel):
    assert choose(make(1, **{"width": 5} | case)[0], CPU) is kernel


MINI = {"optimizer": "sgd", "batch_size": 2, "n": 9}


@pytest.mark.parametrize(
    ("setting", "on_cpu", "on_gpu"),
    [
        ({"optimizer": "nesterov"}, fused, persistent),
        (
            {"clip": 0.1, "schedule": "cosine", "warmup_steps": 5, "weight_decay": 0.1, "lr_ratio": 0.5},
            fused,
            persistent,
        ),
        ({"init": "balanced"}, fused, persistent),
        ({"bias": "hidden"}, fused, graphed),
        ({"bias": "hidden", "depth": 2}, fused, graphed),
        (MINI, fused, persistent),
        (MINI | {"sampling": "replacement"}, fused, graphed),
        (MINI | {"sampling": "epoch"}, fused, graphed),
        ({"optimizer": "adamw", "beta2": 0.99}, plain, graphed),
        ({"label_noise": 0.1}, plain, plain),
    ],
    ids=str,
)  # as docs/reference/training.md has it
def test_settings_go_to_kernels_that_were_taught_them(setting, on_cpu, on_gpu, monkeypatch):
    monkeypatch.setattr(persistent, "unsupported_reason", lambda device: None)
    run = make(1, **{"width": 5} | setting)[0]
    assert (choose(run, CPU), choose(run, GPU)) == (on_cpu, on_gpu)


# What a step depends on, and what it does not: data, weights at the start, names, and how far a training goes.
OF_STEPS = {
    "depth", "width", "width2", "bias", "output_bias", "activation", "negative_slope", "optimizer", "lr", "lr_ratio",
    "momentum", "beta1", "beta2", "epsilon", "batch_size", "sampling", "label_noise", "clip", "weight_decay",
    "decay_bias", "warmup_steps", "schedule", "schedule_every", "schedule_factor", "dtype", "d", "n", "seed",
}  # fmt: skip
OF_NO_STEP = {
    "problem", "n_test", "data_seed", "noise", "domain", "radius", "frequency", "bandwidth", "teacher_width", "classes",
    "split", "file", "x_columns", "y_column", "standardize", "content", "target", "target_source", "target_arguments",
    "inputs", "inputs_source", "init", "init_file", "init_content", "from_step", "from_parameters", "init_scale",
    "output_scale", "max_steps", "tolerance",
}  # fmt: skip


def test_every_parameter_of_a_run_was_thought_of_by_the_kernels():
    lacking = "a new one: if a step depends on it, have `supports` of every kernel that does not know it refuse it"
    assert set(PARAMETERS) == OF_STEPS | OF_NO_STEP, lacking
    assert not OF_STEPS & OF_NO_STEP


def test_every_optimizer_of_a_run_is_in_the_declared_lists_and_no_other():
    optimizers = set(get_args(Run.model_fields["optimizer"].annotation))
    momenta = {"gd", "sgd", "momentum", "nesterov"}
    assert optimizers == RULES.keys() == BUFFERS.keys() == plain.OPTIMIZERS == graphed.OPTIMIZERS
    assert all(momenta == kernel.OPTIMIZERS for kernel in (persistent, fused, blas))


@pytest.mark.parametrize("kernel", KERNELS, **NAMES)
@pytest.mark.parametrize("device", [CPU, GPU], ids=str)
def test_kernel_supports_the_optimizers_that_it_names_alone(kernel, device, monkeypatch):
    monkeypatch.setattr(persistent, "unsupported_reason", lambda device: None)  # a card that Triton makes code for
    runs = {name: make(1)[0].model_copy(update={"optimizer": name}) for name in (*BUFFERS, "lion")}
    supported = {name for name, run in runs.items() if kernel.supports(run, device)}
    assert supported in (kernel.OPTIMIZERS, set())
    assert supported or device.type not in ("cpu" if kernel in (fused, blas, plain) else "cuda")


def test_made_up_optimizer_is_trained_by_no_kernel():
    run = make(1)[0].model_copy(update={"optimizer": "lion"})
    expected = "optimizer = 'lion': no kernel steps by it; expected one of adam, adamw, gd, momentum, "
    for device in (CPU, GPU):
        with pytest.raises(ValueError, match=expected):
            choose(run, device)
    with pytest.raises(ValueError, match=expected):
        Training(Pack((run,)), CPU)


def test_reference_itself_refuses_a_made_up_optimizer():
    run = make(1)[0]
    tile = Training(Pack((run,)), CPU).tile(slice(0, 1))
    before = tile.theta.clone()
    with pytest.raises(
        ValueError, match="optimizer = 'lion': no update rule; expected one of gd, sgd, momentum, nesterov"
    ):
        plain.advance(tile._replace(run=run.model_copy(update={"optimizer": "lion"})), 0, 3, 0)
    assert torch.equal(tile.theta, before)


class OfShape:
    """A run that shows its shape alone: what decides on a kernel has to be equal in a pack."""

    __class__ = property(lambda self: Run)  # as what it passes where types are checked

    def __init__(self, run):
        self.run = run

    def __getattr__(self, name):
        assert name not in PARAMETERS or name in SHAPE_KEYS, f"{name} decides on a kernel: add it to SHAPE_KEYS"
        return getattr(self.run, name)


@pytest.mark.parametrize("more", [{}, {"depth": 2}, {"optimizer": "sgd"}, {"activation": "leaky_relu"}], ids=str)
@pytest.mark.parametrize("kernel", KERNELS, **NAMES)
def test_kernel_is_chosen_by_what_the_runs_of_a_pack_share(kernel, more, monkeypatch):
    monkeypatch.setattr(persistent, "unsupported_reason", lambda device: None)
    run = OfShape(Run.model_validate({"problem": "sine", "lr": 0.1} | more))
    for device in (CPU, GPU):
        kernel.supports(run, device)
        kernel.tile_size(run, device)
