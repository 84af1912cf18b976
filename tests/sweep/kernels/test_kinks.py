"""Data on kinks, compiled, against the same on tensors."""

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sweep import measure
from sweep.kernels import shallow
from tests.sweep.kernels.test_curvature import FEATURES, point_of


@settings(deadline=None, max_examples=40, derandomize=True, phases=[Phase.generate])
@given(
    st.fixed_dictionaries({
        "d": FEATURES, "n": st.integers(1, 20), "width": st.integers(1, 17), "bias": st.booleans(),
        "activation": st.sampled_from(["relu", "leaky_relu"]),
    }),
    st.booleans(), st.floats(1e-3, 10.0), st.integers(0, 2**31),
)  # fmt: skip
def test_equals_the_marks_on_tensors(case, shared, lr, seed):
    _, _, point = point_of(case, shared=shared, seed=seed)
    point.theta[:, : 1 + case["d"]] *= 1e-12  # a unit whose data may be on its kink by rounding
    lr = torch.full((len(point.theta),), lr, dtype=torch.float64)
    compiled = measure.on_kink(point, lr)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shallow, "supports", lambda *_: False)
        expected = measure.on_kink(point, lr)
    assert len(compiled) == len(expected) == 1
    assert torch.equal(compiled[0], expected[0])


def test_a_datum_at_zero_is_on_every_kink_through_zero():
    _, _, point = point_of({"width": 4, "n": 3, "d": 2, "bias": False})
    point.x[:, 1] = 0
    marks = measure.on_kink(point, torch.zeros(3, dtype=torch.float64))[0]
    assert marks[:, :, 1].all()
    assert not marks[:, :, [0, 2]].any()


@pytest.mark.parametrize("case", [{"bias": True}, {"bias": False}, {"activation": "leaky_relu"}], ids=str)
def test_greedy_pass_over_modes_equals_the_one_on_tensors(case, monkeypatch):
    """Flipping any pairs, whether on kinks or not: one network has none, one has more than are tried."""
    _, _, point = point_of({"width": 12, "n": 20, "d": 2} | case, seed=3)
    kinks = (
        torch.rand(3, 12, 20, generator=torch.Generator().manual_seed(5)) < torch.tensor([0.0, 0.1, 0.9])[:, None, None]
    )
    newton = measure.gauss_newton_top(point)
    compiled = measure.least_gauss_newton_sharpness(point, newton, [kinks])
    monkeypatch.setattr(shallow, "supports", lambda *_: False)
    expected = measure.least_gauss_newton_sharpness(point, newton, [kinks])
    torch.testing.assert_close(compiled, expected, rtol=1e-8, atol=0)
    assert (compiled < newton.value).tolist() == [False, True, False]
