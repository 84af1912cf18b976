"""The compiled Lanczos against dense spectra and against the one on tensors, over random shapes."""

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from relusweep.sweep import curvature, derivatives
from relusweep.sweep.point import Point
from tests import oracles
from tests.sweep.cases import point_of
from tests.sweep.kernels.measures.cases import CASES, LARGE


def top_eigenpair(point, **options):
    return point.programs.top_eigenpair(point.networks, **options)


def dense(runs, x, point, b, *, exact):
    weights = oracles.weights_of(point.theta[b].numpy(), runs[b])
    slope = 0.0 if point.slope is None else float(point.slope[b])
    inputs = x if x.ndim == 2 else x[b]
    if exact:
        return oracles.hessian(weights, inputs, point.y[b], slope)
    j = oracles.jacobian(weights, inputs, slope)
    return j.T @ j / runs[b].n


@pytest.mark.slow
@settings(deadline=None, max_examples=60, derandomize=True, phases=[Phase.generate])
@given(CASES, st.booleans(), st.booleans(), st.integers(0, 2**31))
def test_equals_the_top_of_the_dense_spectrum(case, shared, exact, seed):
    runs, x, point = point_of(case, shared=shared, seed=seed)
    found = top_eigenpair(point, exact=exact, tolerance=1e-9)
    for b in range(len(runs)):
        top = torch.linalg.eigvalsh(dense(runs, x, point, b, exact=exact))[-1]
        torch.testing.assert_close(found.value[b], top, rtol=1e-9, atol=1e-11)
        assert abs(found.value[b] - top) <= found.residual[b] + 1e-11 * top.abs()
        assert abs(float(found.vector[b].norm()) - 1) < 1e-12


@pytest.mark.slow
@settings(deadline=None, max_examples=60, derandomize=True, phases=[Phase.generate])
@given(CASES, st.booleans(), st.integers(1, 6), st.integers(0, 2**31))
def test_the_largest_are_eigenvalues_and_no_other_is_beyond_their_bound(case, exact, count, seed):
    runs, x, point = point_of(case, seed=seed)
    count = min(count, point.architecture.count)
    values, residuals, rest = point.programs.largest_eigenvalues(point.networks, count, 1e-9, exact=exact)
    for b in range(len(runs)):
        expected = torch.linalg.eigvalsh(dense(runs, x, point, b, exact=exact)).flip(0)
        rounding = 1e-10 * expected[0].abs() + 1e-12
        found = residuals[b].isfinite()
        assert found[0]
        away = (values[b, found, None] - expected).abs().amin(1)
        assert (away <= residuals[b, found] + rounding).all()
        assert (expected > rest[b] + rounding).sum() <= count
        if found.all() and values[b, -1] - residuals[b].norm() > rest[b]:
            torch.testing.assert_close(values[b], expected[:count], rtol=1e-9, atol=float(rounding))
    is_bounded = torch.isfinite(rest)
    assert is_bounded.all() or (exact and len(point.architecture.shapes) > 2)


def test_five_eigenvalues_near_interpolation_are_proved_by_the_sum_of_squares():
    _, _, point = point_of({"width": 40, "n": 20, "d": 2}, count=8)
    point = Point(point.architecture, point.theta, point.x, point.y + 0.999 * point.residual, None)
    values, residuals, rest = point.programs.largest_eigenvalues(point.networks, 5, 1e-6)
    assert (values[:, -1] - residuals.norm(dim=1) > rest).all()


@settings(deadline=None, max_examples=20, derandomize=True, phases=[Phase.generate])
@given(CASES, st.booleans(), st.integers(0, 2**31))
def test_trace_is_that_of_tensors(case, shared, seed):
    _, _, point = point_of(case, shared=shared, seed=seed)
    found = point.programs.gauss_newton_trace(point.networks)
    torch.testing.assert_close(found, derivatives.gauss_newton_trace(point), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_eigenvector_has_the_order_of_the_weights(case):
    _, _, point = point_of(case | {"n": 20})
    for exact, product in (
        (True, derivatives.hessian_product(point)),
        (False, derivatives.gauss_newton_product(point)),
    ):
        pair = top_eigenpair(point, exact=exact, tolerance=1e-12)
        torch.testing.assert_close(product(pair.vector), pair.value[:, None] * pair.vector, rtol=1e-9, atol=1e-9)


def test_residual_is_the_true_one():
    _, _, point = point_of({"width": 60, "n": 100, "d": 5})
    pair = top_eigenpair(point, exact=True, tolerance=0.1)
    image = derivatives.hessian_product(point)(pair.vector)
    expected = torch.linalg.vector_norm(image - pair.value[:, None] * pair.vector, dim=1)
    torch.testing.assert_close(pair.residual, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("exact", [True, False])
def test_start_in_another_eigenvector_is_left(exact):
    runs, x, point = point_of({"width": 30, "n": 40, "d": 2})
    start = torch.stack([
        torch.linalg.eigh(dense(runs, x, point, b, exact=exact))[1][:, -2] for b in range(len(runs))
    ])  # fmt: skip
    # the oracle orders weights w1 b1 w2 b2; carry its second vector over
    order = torch.cat([torch.cat([torch.tensor([2 * i, 2 * i + 1, 60 + i]) for i in range(30)]), torch.arange(90, 121)])
    pair = top_eigenpair(point, exact=exact, start=start[:, order])
    for b in range(len(runs)):
        top = torch.linalg.eigvalsh(dense(runs, x, point, b, exact=exact))[-1]
        torch.testing.assert_close(pair.value[b], top, rtol=1e-8, atol=0)


def test_dead_networks_have_the_curvature_of_their_output_bias():
    _, _, point = point_of({"width": 6, "n": 9, "d": 2})
    theta = torch.zeros_like(point.theta)
    pair = top_eigenpair(Point(point.architecture, theta, point.x, point.y, None), exact=True)
    torch.testing.assert_close(pair.value, torch.ones(3, dtype=torch.float64))
    without = point_of({"width": 6, "n": 9, "d": 2, "bias": False})[2]
    zeros = torch.zeros_like(without.theta)
    pair = top_eigenpair(Point(without.architecture, zeros, without.x, without.y, None), exact=True)
    assert pair.value.tolist() == [0.0] * 3
    assert pair.residual.tolist() == [0.0] * 3


def test_networks_too_steep_for_numbers_have_no_sharpness():
    _, _, point = point_of({"width": 6, "n": 9, "d": 2})
    theta = point.theta * torch.tensor([[1.0], [1e200], [1.0]], dtype=torch.float64)
    pair = top_eigenpair(Point(point.architecture, theta, point.x, point.y, None), exact=True)
    assert torch.isnan(pair.value).tolist() == [False, True, False]
    values, _, _ = point.programs.largest_eigenvalues(point.networks._replace(theta=theta), 3, 1e-6)
    assert torch.isnan(values).any(1).tolist() == [False, True, False]


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_a_network_is_measured_alike_in_any_company(case):
    _, _, point = point_of(case | {"n": 33})
    whole = curvature.hessian_top(point)
    for b in range(3):
        alone = curvature.hessian_top(point.rows(slice(b, b + 1)))
        assert all(torch.equal(one[b : b + 1], other) for one, other in zip(whole, alone, strict=True))


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_agrees_with_lanczos_on_tensors(case, monkeypatch):
    _, _, point = point_of(case | {"n": 60})
    compiled = curvature.gauss_newton_top(point), curvature.hessian_top(point)
    monkeypatch.setattr(Point, "programs", None)
    for one, other in zip(compiled, (curvature.gauss_newton_top(point), curvature.hessian_top(point)), strict=True):
        torch.testing.assert_close(one.value, other.value, rtol=1e-10, atol=0)
