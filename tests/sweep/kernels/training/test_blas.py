"""The kernel of matrix products against autograd on each run alone, the other kernels, and bit for bit against itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relusweep.sweep.kernels.training import blas, fused, plain
from relusweep.sweep.kernels.training.choice import choose
from tests.sweep.kernels.training.cases import (
    CPU,
    LEAKY,
    SHAPES,
    against_autograd,
    assert_windows_and_packs_do_not_matter,
    by_id,
    make,
    rules,
    samplings,
    trained,
)

RULES = rules()
LARGE = {"d": 40, "n": 30, "width": 70, "init": "kaiming", "max_steps": 6}


@pytest.mark.slow
@pytest.mark.parametrize("rule", [*RULES, *samplings()], ids=str)
@pytest.mark.parametrize(
    "shape", [*SHAPES, LARGE, LARGE | {"depth": 2, "width2": 9, "bias": False}, LARGE | {"bias": "hidden"}], ids=str
)
def test_equals_autograd_on_each_run_alone(shape, rule):
    batch = {"batch_size": shape["n"] // 2 + 1} if "batch_size" in rule else {}
    against_autograd(make(3, **shape | rule | batch), blas)


@pytest.mark.slow
@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.fixed_dictionaries({
        "d": st.integers(1, 40), "n": st.integers(1, 60), "width": st.integers(1, 40), "bias": st.booleans(),
        "dtype": st.sampled_from(["float32", "float64"]),
    }),
    st.sampled_from([{}, {"depth": 2, "width2": 1}, {"depth": 2, "width2": 11}]),
    st.sampled_from([{}, LEAKY]),
    st.sampled_from(RULES[:3]),
)  # fmt: skip
def test_random_shapes_equal_autograd(shape, depth, activation, rule):
    small = {"init": "kaiming", "max_steps": 5}
    tolerance = 1e-11 if shape["dtype"] == "float64" else 1e-4
    against_autograd(make(2, **shape | depth | activation | rule | small), blas, tolerance)


@pytest.mark.parametrize("rule", [{}, {"optimizer": "sgd", "batch_size": 5}], ids=str)
@pytest.mark.parametrize("depth", [{"width": 48}, {"depth": 2, "width": 33, "width2": 20}], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_is_the_same_bit_for_bit_in_any_pack_and_with_any_number_of_threads(rule, depth, dtype):
    runs = make(300, n=17, d=20, dtype=dtype, init="kaiming", **rule | depth)
    assert choose(runs[0], CPU) is blas
    whole = by_id(trained(runs, blas))
    torch.set_num_threads(2)
    assert_windows_and_packs_do_not_matter(runs, (runs[:7], runs[7:8]), (1, 5, 12), blas)
    assert all(torch.equal(row, whole[run_id]) for run_id, row in by_id(trained(runs, blas)).items())
    torch.set_num_threads(1)


def test_losses_are_those_of_the_reference():
    runs = make(4, n=30, d=20, width=40, n_test=0)
    training = trained(runs, blas)
    tile = training.tile(slice(None))
    torch.testing.assert_close(blas.losses(tile), plain.losses(tile))


@pytest.mark.parametrize("depth", [{}, {"depth": 2}], ids=str)
def test_divergence_is_met_as_by_the_fused_kernel_and_stays_with_its_run(depth):
    shape = {"n": 6, "width": 20, "max_steps": 400} | depth
    runs = (*make(2, **shape), *make(1, **shape | {"lr": 90.0}))
    peaks, expected = by_id(trained(runs, blas), "peak"), by_id(trained(runs, fused), "peak")
    for run in runs:
        assert bool(peaks[run.id].isfinite()) == bool(expected[run.id].isfinite()) == (run.lr != 90.0)
