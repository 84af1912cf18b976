"""The compiled pass over the samples against the measures on tensors, over random shapes."""

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sweep import measure
from sweep.kernels import shallow
from sweep.kernels.survey import Survey, survey
from sweep.point import Point
from tests.sweep.kernels.test_curvature import FEATURES, point_of


def surveyed(point):
    return survey(point.architecture, point.theta, point.x, point.y, point.slope)


@settings(deadline=None, max_examples=60, derandomize=True, phases=[Phase.generate])
@given(
    st.fixed_dictionaries({
        "d": FEATURES, "n": st.integers(1, 40), "width": st.integers(1, 33), "bias": st.booleans(),
        "activation": st.sampled_from(["relu", "leaky_relu"]),
    }),
    st.booleans(), st.integers(0, 2**31),
)  # fmt: skip
def test_equals_the_measures_on_tensors(case, shared, seed):
    _, _, point = point_of(case, shared=shared, seed=seed)
    found = surveyed(point)._asdict()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shallow, "supports", lambda *_: False)
        expected = measure.summary(point) | {
            "finite": point.finite.double(), "largest_residual": measure.largest_residual(point)
        }  # fmt: skip
    assert found.keys() == expected.keys()
    for name, column in expected.items():
        torch.testing.assert_close(found[name], column, rtol=1e-12, atol=1e-14, msg=name)


def test_data_on_kinks_count_for_neither_side():
    _, _, point = point_of({"width": 3, "n": 4, "d": 2, "bias": False})
    on_kinks = Point(point.architecture, point.theta, torch.zeros_like(point.x), point.y, None)
    assert surveyed(on_kinks).stability_norm.tolist() == surveyed(on_kinks).oriented_stability_norm.tolist() == [0] * 3
    assert (surveyed(on_kinks).dead_fraction == 1).all()


def test_outputs_that_are_not_finite_are_told_from_large_ones():
    _, _, point = point_of({"width": 5, "n": 7, "d": 2})
    theta = point.theta * torch.tensor([1.0, 1e200, 1.0])[:, None]
    theta[2, 0] = torch.nan
    found = surveyed(Point(point.architecture, theta, point.x, point.y, None))
    assert found.finite.tolist() == [1, 0, 0]
    large = surveyed(Point(point.architecture, point.theta * 1e90, point.x, point.y, None))
    assert large.finite.all(), "though the loss is infinite"
    assert large.loss.isinf().all()


def test_a_network_is_surveyed_alike_in_any_company():
    _, _, point = point_of({"width": 9, "n": 33, "d": 5})
    together = surveyed(point)
    for b in range(len(point.theta)):
        alone = surveyed(point.rows(slice(b, b + 1)))
        assert Survey(*(column[b : b + 1] for column in together)) == alone
