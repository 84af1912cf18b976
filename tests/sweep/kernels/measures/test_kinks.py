"""Data on kinks, compiled, against the same on tensors."""

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from relusweep.sweep import curvature, measure
from relusweep.sweep.point import Point
from tests.sweep.cases import point_of
from tests.sweep.kernels.measures.cases import CASES


@pytest.mark.slow
@settings(deadline=None, max_examples=40, derandomize=True, phases=[Phase.generate])
@given(CASES, st.booleans(), st.floats(1e-3, 10.0), st.integers(0, 2**31))
def test_equals_the_marks_on_tensors(case, shared, lr, seed):
    _, _, point = point_of(case, shared=shared, seed=seed)
    point.theta[:, : 1 + case["d"]] *= 1e-12  # a unit whose data may be on its kink by rounding
    lr = torch.full((len(point.theta),), lr, dtype=torch.float64)
    compiled = measure.on_kink(point, lr)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Point, "programs", None)
        expected = measure.on_kink(point, lr)
    for marks, wanted in zip(compiled, expected, strict=True):
        assert torch.equal(marks, wanted)


def test_a_datum_at_zero_is_on_every_kink_through_zero():
    _, _, point = point_of({"width": 4, "n": 3, "d": 2, "bias": False})
    point.x[:, 1] = 0
    marks = measure.on_kink(point, torch.zeros(3, dtype=torch.float64))[0]
    assert marks[:, :, 1].all()
    assert not marks[:, :, [0, 2]].any()


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        {"bias": True}, {"bias": False}, {"bias": "hidden"}, {"depth": 2, "width2": 7, "bias": "hidden"}, {"activation": "leaky_relu"}, {"d": 18}, {"depth": 2, "width2": 7},
        {"depth": 2, "width2": 7, "bias": False, "activation": "leaky_relu"},
    ],
    ids=str,
)  # fmt: skip
def test_greedy_pass_over_modes_equals_the_one_on_tensors(case, monkeypatch):
    """Flipping any pairs, whether on kinks or not: one network has none, one has more than are tried."""
    _, _, point = point_of({"width": 12, "n": 20, "d": 2} | case, seed=3)
    share, generator = torch.tensor([0.0, 0.1, 0.9])[:, None, None], torch.Generator().manual_seed(5)
    kinks = [torch.rand(*z.shape, generator=generator) < share for z in point.before]
    newton = curvature.gauss_newton_top(point)
    compiled = measure.least_gauss_newton_sharpness(point, newton, kinks)
    monkeypatch.setattr(Point, "programs", None)
    expected = measure.least_gauss_newton_sharpness(point, newton, kinks)
    torch.testing.assert_close(compiled, expected, rtol=1e-8, atol=0)
    assert (compiled < newton.value).tolist() == [False, True, False]
