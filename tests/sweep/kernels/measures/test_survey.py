"""The compiled pass over the samples against the measures on tensors, over random shapes."""

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from relusweep.sweep import measure
from relusweep.sweep.kernels.measures.survey import Survey
from relusweep.sweep.point import Point
from tests.sweep.cases import point_of
from tests.sweep.kernels.measures.cases import CASES, LARGE


def surveyed(point):
    return point.programs.survey(point.networks)


@pytest.mark.slow
@settings(deadline=None, max_examples=60, derandomize=True, phases=[Phase.generate])
@given(CASES, st.booleans(), st.integers(0, 2**31))
def test_equals_the_measures_on_tensors(case, shared, seed):
    _, _, point = point_of(case, shared=shared, seed=seed)
    found = surveyed(point)._asdict()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Point, "programs", None)
        expected = measure.summary(point) | {
            "finite": point.finite.double(), "largest_residual": measure.largest_residual(point)
        }  # fmt: skip
    assert all(found.pop(name).isnan().all() for name in found.keys() - expected.keys())
    lacking = "Survey and both compiled passes need what `summary` measures, else its column is null on the CPU"
    assert found.keys() == expected.keys(), lacking
    assert len(found) == (10 if len(point.before) == 1 else 6)
    for name, column in expected.items():
        torch.testing.assert_close(found[name], column, rtol=1e-12, atol=1e-14, msg=name)


def test_data_on_kinks_count_for_neither_side():
    _, _, point = point_of({"width": 3, "n": 4, "d": 2, "bias": False})
    on_kinks = Point(point.architecture, point.theta, torch.zeros_like(point.x), point.y, None)
    assert surveyed(on_kinks).stability_norm.tolist() == surveyed(on_kinks).oriented_stability_norm.tolist() == [0] * 3
    assert (surveyed(on_kinks).dead_fraction == 1).all()


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_outputs_that_are_not_finite_are_distinguished_from_large_ones(case):
    _, _, point = point_of(case | {"n": 7})
    theta = point.theta * torch.tensor([1.0, 1e200, 1.0])[:, None]
    theta[2, 0] = torch.nan
    found = surveyed(Point(point.architecture, theta, point.x, point.y, None))
    assert found.finite.tolist() == [1, 0, 0]
    large = surveyed(Point(point.architecture, point.theta * 1e90, point.x, point.y, None))
    assert large.finite.all(), "though the loss is infinite"
    assert large.loss.isinf().all()


@pytest.mark.parametrize("case", LARGE[:2], ids=str)
def test_a_network_is_surveyed_alike_in_any_company(case):
    _, _, point = point_of(case | {"n": 33})
    together = surveyed(point)
    for b in range(len(point.theta)):
        alone = surveyed(point.rows(slice(b, b + 1)))
        assert Survey(*(column[b : b + 1] for column in together)) == alone
