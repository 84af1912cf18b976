"""The fused kernel against autograd on each run alone, against the reference kernel, and bit for bit against itself."""

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from relusweep.sweep.kernels.training import fused, plain
from tests.sweep.kernels.training.cases import (
    LEAKY,
    SHAPES,
    against_autograd,
    assert_dead_networks_stay_dead,
    assert_windows_and_packs_do_not_matter,
    by_id,
    make,
    rules,
    samplings,
    trained,
    various,
)

pytestmark = pytest.mark.slow

RULES = rules()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_autograd_on_each_run_alone(shape):
    against_autograd(make(**shape), fused)


@pytest.mark.parametrize("shape", [SHAPES[4], SHAPES[11]], ids=str)
@pytest.mark.parametrize("rule", [*RULES[1:], *samplings()], ids=str)
def test_every_rule_equals_torch_optim(shape, rule):
    batch = {"batch_size": shape["n"] // 2 + 1} if "batch_size" in rule else {}
    against_autograd(make(**shape | rule | batch), fused)


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
    tolerance = 1e-11 if shape["dtype"] == "float64" else 1e-4
    against_autograd(make(3, **shape | depth | activation | rule | small), fused, tolerance)


@pytest.mark.parametrize("rule", [{}, {"optimizer": "sgd", "batch_size": 5}, *samplings(5)[1:]], ids=str)
@pytest.mark.parametrize("depth", [{"width": 20}, {"depth": 2, "width": 7}], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_is_the_same_bit_for_bit_in_any_pack(rule, depth, dtype):
    """Alone, among 7 and among 1000, which are tiles of 256; with data and rules of its own or shared; in any windows."""
    shared = make(1000, n=11, d=2, dtype=dtype, init="kaiming", **rule | depth)
    own = various(shared[:7])
    for runs, parts in ((shared, (shared[:7], shared[7:8], shared[900:])), (own, (*((run,) for run in own), own[4:]))):
        assert_windows_and_packs_do_not_matter(runs, parts, (1, 5, 12), fused)


def test_losses_do_not_depend_on_the_pack_and_are_those_of_the_reference():
    runs = make(40, n=30, d=2, width=20, n_test=0)
    training = trained(runs, fused)
    losses = training.losses(slice(None))
    rows = [float(training.losses(slice(i, i + 1))) for i in range(40)]
    assert rows == losses.tolist()
    torch.testing.assert_close(losses, plain.losses(training.tile(slice(None))))


@pytest.mark.parametrize("depth", [{}, {"depth": 2}], ids=str)
def test_divergence_is_met_as_by_the_reference_and_stays_with_its_run(depth):
    runs = (
        *make(2, n=6, width=20, max_steps=400, **depth),
        *make(1, n=6, width=20, max_steps=400, **depth | {"lr": 90.0}),
    )
    fast, slow = trained(runs, fused), trained(runs, plain)
    peaks, expected = by_id(fast, "peak"), by_id(slow, "peak")
    for run in runs:
        assert bool(peaks[run.id].isfinite()) == bool(expected[run.id].isfinite()) == (run.lr != 90.0)
        assert bool(by_id(fast)[run.id].isfinite().all()) == (run.lr != 90.0)


def test_dead_networks_stay_dead():
    assert_dead_networks_stay_dead(fused, steps=12)
