"""The persistent kernel in Triton's interpreter: against autograd, the reference, and itself; and as machine code."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from relusweep.sweep.kernels.training import persistent, plain
from relusweep.sweep.kernels.training.choice import KERNELS, choose
from tests.sweep.kernels.training import cases
from tests.sweep.kernels.training.cases import (
    CPU,
    LEAKY,
    assert_dead_networks_stay_dead,
    assert_windows_and_packs_do_not_matter,
    begun,
    by_id,
    trained,
    various,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("triton") is None, reason="Triton is made for Linux alone"),
]
GPU = torch.device("cuda")
DEEP = {"depth": 2, "width": 6, "width2": 3}


@pytest.fixture(scope="module", autouse=True)
def _interpreter():
    """Triton asks when it is loaded whether to compile or to interpret; nothing else loads it where there is no GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        from triton.runtime.interpreter import InterpretedFunction

        from relusweep.sweep.kernels.training import resident

        assert isinstance(resident.advance, InterpretedFunction)
        yield


def make(count=2, **parameters):
    """Few runs of few steps: the interpreter takes its time."""
    return cases.make(count, **{"max_steps": 3} | parameters)


def against_autograd(runs, rtol=1e-11):
    assert persistent.fits(runs[0])
    return cases.against_autograd(runs, persistent, rtol)


SHAPES = [  # one of everything, more lanes than units or samples, more units or samples than lanes, remainders
    {"d": 1, "n": 1, "width": 1},
    {"d": 1, "n": 1, "width": 1, "bias": False, **LEAKY},
    {"d": 2, "n": 3, "width": 70},
    {"d": 16, "n": 7, "width": 17, "bias": False},
    {"d": 3, "n": 37, "width": 2, **LEAKY},
    {"d": 1, "n": 3, "depth": 2, "width": 1, "width2": 1},
    {"d": 2, "n": 35, "depth": 2, "width": 9, "width2": 2, "bias": False, **LEAKY},
    {"d": 2, "n": 5, "depth": 2, "width": 16, "width2": 8},
]
RULES = cases.rules(batches=5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_autograd_on_each_run_alone(shape):
    against_autograd(make(**shape))


@pytest.mark.parametrize("shape", [{"width": 6}, {"width": 5, "bias": False, **LEAKY}, DEEP], ids=str)
@pytest.mark.parametrize("rule", RULES[1:], ids=str)
def test_every_rule_equals_torch_optim(shape, rule):
    against_autograd(make(d=2, n=9, **shape | rule))


@pytest.mark.parametrize(("n", "batch_size"), [(1, 1), (5, 5), (40, 33), (300, 2)])
def test_batches_are_those_of_the_reference(n, batch_size):
    """All samples in another order, more of them than lanes, and few of many."""
    against_autograd(make(2, d=1, n=n, width=3, optimizer="sgd", batch_size=batch_size))


@settings(deadline=None, max_examples=10, derandomize=True, phases=[Phase.generate])
@given(
    st.fixed_dictionaries({
        "d": st.integers(1, 5), "n": st.integers(1, 24), "width": st.integers(1, 40), "bias": st.booleans(),
        "dtype": st.sampled_from(["float32", "float64"]),
    }),
    st.sampled_from([{}, {"depth": 2, "width2": 1}, {"depth": 2, "width2": 3}]),
    st.sampled_from([{}, LEAKY]),
    st.sampled_from(RULES[:3]),
)  # fmt: skip
def test_random_shapes_equal_autograd_and_the_reference(shape, depth, activation, rule):
    small = {"init": "kaiming", "max_steps": 2}
    batch = {"batch_size": shape["n"] // 2 + 1} if "batch_size" in rule else {}
    runs = make(2, **shape | depth | activation | rule | small | batch)
    rtol = 1e-11 if shape["dtype"] == "float64" else 1e-4
    mine, reference = against_autograd(runs, rtol), trained(runs, plain)
    for name in ("theta", "peak"):
        torch.testing.assert_close(mine.state[name], reference.state[name], rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [{"width": 5}, DEEP | RULES[3] | {"width": 4, "width2": 2, "batch_size": 2}], ids=str)
def test_a_run_is_the_same_bit_for_bit_in_any_pack(case, dtype):
    """Alone, among 7, in another order and in any windows; with data and rules of its own or shared."""
    shared = make(7, n=5, d=2, dtype=dtype, **case)
    for runs in (shared, various(shared)):
        assert_windows_and_packs_do_not_matter(runs, (runs[2:3], runs[5:]), (1, 3), persistent)


def test_losses_are_those_of_the_reference():
    runs = make(3, n=30, d=2, width=6, optimizer="momentum", momentum=0.5, batch_size=3, **LEAKY)
    training, reference = trained(runs, persistent), trained(runs, plain)
    before = training.state["theta"].clone()
    torch.testing.assert_close(training.losses(slice(None)), reference.losses(slice(None)))
    assert torch.equal(training.state["theta"], before)


@pytest.mark.parametrize(
    ("dtype", "case"),
    [("float32", {"width": 5}), ("float64", {"width": 5}), ("float64", {"width": 5, **LEAKY}), ("float32", DEEP)],
    ids=str,
)
def test_infinite_and_nan_losses_are_seen_as_by_the_reference_and_stay_with_their_run(dtype, case):
    """One run diverges, one begins beyond the largest number, one has lost a weight; the rest is as if alone."""
    runs = make(4, n=6, d=2, dtype=dtype, **case)
    largest = torch.finfo(getattr(torch, dtype)).max
    runs = (*runs[:3], runs[3].model_copy(update={"lr": largest**0.7}))
    healthy = by_id(trained(runs[:1], persistent))
    peaks = []
    for kernel in (persistent, plain):
        training = begun(runs, kernel)
        place = {training.runs[p].id: row for row, p in enumerate(training.state["position"].tolist())}
        training.state["theta"][place[runs[1].id]] *= largest**0.3
        training.state["theta"][place[runs[2].id], 0] = torch.nan
        with np.errstate(all="ignore"):
            training.advance(1, lambda: None)
            first = [by_id(training, "peak")[run.id].item() for run in runs]
            training.advance(3, lambda: None)
        last = by_id(training, "peak")
        peaks.append([(peak, bool(last[run.id].isfinite())) for peak, run in zip(first, runs, strict=True)])
        if kernel is persistent:
            assert torch.equal(by_id(training)[runs[0].id], healthy[runs[0].id])
    for mine, expected in zip(*peaks, strict=True):
        assert mine == pytest.approx(expected, rel=1e-4, nan_ok=True)
    assert [finite for _, finite in peaks[0]] == [True, False, False, False]
    assert np.isinf(peaks[0][1][0])
    assert np.isnan(peaks[0][2][0])


def test_dead_networks_stay_dead():
    assert_dead_networks_stay_dead(persistent, steps=3)


@pytest.mark.parametrize(
    "case",
    [{"optimizer": "adam"}, {"d": 17}, {"optimizer": "sgd", "n": 600, "batch_size": 300}, {"width": 4096},
     {"depth": 2, "width": 64, "width2": 64}],
    ids=str,
)  # fmt: skip
def test_what_no_warp_holds_is_left_to_the_reference(case):
    assert persistent.fits(make(1)[0])
    assert not persistent.fits(make(1, **case)[0])


def test_without_a_gpu_another_kernel_trains():
    run = make(1)[0]
    assert not persistent.supports(run, CPU)
    assert persistent.supports(run, GPU) == (torch.cuda.is_available() and persistent.unsupported_reason(GPU) is None)
    assert choose(run, CPU) is not persistent
    assert KERNELS.index(persistent) < KERNELS.index(plain)


def test_tiles_hold_all_runs_unless_a_window_would_be_long():
    assert persistent.tile_size(make(1, n=128, width=64)[0], GPU) >= 2**20
    assert persistent.tile_size(make(1, n=10**6, width=256)[0], GPU) == 4096


def test_nothing_loads_triton_on_a_cpu():
    code = (
        "import sys, torch\nfrom relusweep.sweep.run import Run\nfrom relusweep.sweep.pack import Pack\n"
        "from relusweep.sweep.train import Training\n"
    )
    code += "run = Run.model_validate({'problem': 'sine', 'lr': 0.1, 'n': 4, 'width': 3, 'max_steps': 2})\n"
    code += "Training(Pack((run,)), torch.device('cpu')).advance(2, lambda: None); print('triton' in sys.modules)"
    assert in_a_process(code) == "False"


COMPILE = """
import json, sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from relusweep.sweep.kernels.training import persistent
from relusweep.sweep.kernels.training import resident
from relusweep.sweep.run import Run

run = Run.model_validate_json(sys.argv[1])
constants = persistent.constants(run)
options = {name: constants.pop(name) for name in ("num_warps", "maxnreg", "enable_fp_fusion")}
number = "*fp32" if run.dtype == "float32" else "*fp64"
types = dict.fromkeys(("theta", "memory", "peaks", "numbers", "factors", "xs", "ys"), number)
types |= {"streams": "*i64"} | dict.fromkeys(("stride", "start", "stop"), "i32") | dict.fromkeys(constants, "constexpr")
source = ASTSource(resident.advance, types, constexprs=constants)
made = compile(source, target=GPUTarget("cuda", 90, 32), options=options)
print(json.dumps({"shared": made.metadata.shared, "barriers": made.asm["ptx"].count("bar.sync"), "size": len(made.asm["cubin"])}))
"""


def in_a_process(code, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("dtype", "case"),
    [
        ("float32", {"width": 64, "n": 128}),
        ("float64", {"width": 5, "n": 20, "bias": False, **LEAKY}),
        ("float32", {"width": 64, "n": 128} | RULES[3]),
        ("float64", {"depth": 2, "width": 16, "width2": 8, "n": 128}),
    ],
    ids=str,
)
def test_compiles_to_machine_code_in_which_no_run_waits(dtype, case):
    """For a Hopper card, which need not be here: no shared memory, hence no barriers."""
    run = make(1, d=2, dtype=dtype, **case)[0]
    made = json.loads(in_a_process(COMPILE, run.model_dump_json()))
    assert made["shared"] == made["barriers"] == 0
    assert made["size"] > 0
