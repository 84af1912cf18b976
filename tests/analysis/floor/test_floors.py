"""Floors: the least error of all stable shallow networks, against closed forms, slow programmes and other solvers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import Lasso

from relusweep.analysis.floor import Arrangement, FloorError, Floors, budget, residual_slack
from relusweep.sweep.data import dataset
from relusweep.sweep.run import Run
from tests import oracles
from tests.analysis.floor.conftest import NORMS


def test_three_points_on_a_line_have_the_norm_of_their_second_difference():
    points, labels = np.array([[-1.0], [0], [1]]), np.array([0.0, 0.7, 0])
    floors = Floors(points, labels)
    kink = np.sqrt(2) / 9  # g at 0: a third times ‖(1, 1)‖/3, with the datum on the kink inactive
    for error in (0, 0.1, 0.3):
        found = floors.least_norm(error)
        assert found.lower == pytest.approx((1.4 - 4 * error) * kink, rel=1e-9)
        assert abs(found.gap) < 1e-9
        again = floors.least_error(found.norm)
        assert (again.lower, again.upper) == pytest.approx((error, error), abs=1e-9)
    assert floors.least_norm(0.35).upper == 0


@pytest.mark.parametrize(("budget", "slack"), [(0.0, 0.0), (0.1, 0.0), (0.1, 0.8), (1.0, 0.0)])
def test_three_points_on_a_line_share_what_is_missing_of_their_second_difference(budget, slack):
    """Of r only the second difference D = r_1 - 2r_2 + r_3 costs norm: max |r| ≥ |D|/4 and √(mean r²) ≥ |D|/√18."""
    floors, kink = Floors(np.array([[-1.0], [0], [1]]), np.array([0.0, 0.7, 0])), np.sqrt(2) / 9
    for measure, share in (("sup", 1 / 4), ("rms", 1 / np.sqrt(18))):
        expected = max(0.0, 1.4 - budget / kink) * share / (1 + slack * share / kink)
        found = floors.least_error(budget, slack, measure)
        assert (found.lower, found.upper) == pytest.approx((expected, expected), abs=1e-9)


def test_on_a_line_the_interpolant_of_least_norm_bends_at_data_only():
    rng = np.random.default_rng(1)
    x, y = np.sort(rng.standard_normal(9)), rng.standard_normal(9)
    bends = np.diff(np.diff(y) / np.diff(x))
    nudge = 1e-9
    expected = sum(
        abs(bend) * min(oracles.unit_cost(np.ones(1), -(t + e), x[:, None], "stability") for e in (-nudge, nudge))
        for bend, t in zip(bends, x[1:-1], strict=True)
    )
    found = Floors(x[:, None], y).least_norm(0)
    assert (found.lower, found.upper) == pytest.approx((expected, expected), rel=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_affine_labels_and_few_points_cost_the_stability_norm_nothing(d):
    rng = np.random.default_rng(d)
    points = rng.standard_normal((12, d))
    affine = Floors(points, points @ rng.standard_normal(d) + 3)
    assert affine.least_error(0).upper == pytest.approx(0, abs=1e-9)
    assert affine.least_norm(0).upper == pytest.approx(0, abs=1e-9)
    few = Floors(points[: d + 1], rng.standard_normal(d + 1))
    assert few.least_error(0).upper == pytest.approx(0, abs=1e-9)
    oriented = Floors(points, points @ rng.standard_normal(d), "oriented_stability")
    assert oriented.least_norm(0).lower > 0.01  # but not the oriented one


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([0.0, 1, 2, 3, 1e10], r"two points are 2.5e-10 standard deviations apart; expected more than 1e-09"),
        (1e11 + np.arange(5.0), r"points reach 1e\+11, but in some direction deviate by 3.16 only; expected more"),
        ([[0.0, 0], [1, 1e-11], [2, 3e-11], [3, 0]], r"in some direction deviate by 2.\d+e-11 only"),
    ],
)
def test_points_that_cannot_be_told_apart_get_no_certificate(points, message):
    points = np.array(points, float).reshape(len(points), -1)
    with pytest.raises(FloorError, match=message):
        Floors(points, np.array([0.0, 1, 0, 0, 0][: len(points)]))


def test_without_a_budget_the_floor_is_the_best_affine_or_constant_fit():
    points = np.array([[0.0], [1], [2], [3]])
    labels = np.array([0.0, 1, 0, 4])
    assert Floors(points, labels).least_error(0).lower == pytest.approx(4 / 3, abs=1e-9)  # r = ±(1, ·, -1, 1) 4/3
    assert Floors(points, labels, "oriented_stability").least_error(0).lower == pytest.approx(2, abs=1e-9)


def test_equal_data_with_different_labels_keep_half_their_distance():
    points, labels = np.array([[0.0, 1], [0, 1], [2, 2], [1, 0]]), np.array([0.0, 1, 5, 2])
    assert Floors(points, labels).least_error(1e6).lower == pytest.approx(0.5, abs=1e-9)
    with pytest.raises(FloorError, match=r"error = 0.4; labels of points that coincide are further apart"):
        Floors(points, labels).least_norm(0.4)
    assert Floors(np.ones((3, 2)), np.array([0.0, 1, 4])).least_error(1.0).upper == pytest.approx(2)


tiny = st.tuples(st.integers(1, 5), st.integers(1, 2)).flatmap(
    lambda shape: st.tuples(
        arrays(float, shape, elements=st.one_of(st.integers(-1, 1).map(float), st.floats(-2, 2).map(lambda v: round(v, 2)))),
        arrays(float, shape[0], elements=st.integers(-3, 3).map(float)),
        st.sampled_from([0.0, 0.05, 0.3, 1.0]),
        st.booleans(),
    )
)  # fmt: skip


@settings(max_examples=25, deadline=None, derandomize=True)
@given(tiny)
def test_floor_is_the_optimum_over_all_cells_of_units(case):
    points, labels, most, oriented = case
    found = Floors(points, labels, "oriented_stability" if oriented else "stability").least_error(most)
    expected = oracles.least_error_over_cells(points, labels, most, oriented=oriented)
    assert (found.lower, found.upper) == pytest.approx((expected, expected), abs=1e-6)


ROWS = [[-1.0, 1], [-1, 1], [1, -1], [0, 0], [-1, -1], [1, 1], [0, 1]]


PAIRS = [[-1.0, 1], [-1, 1], [1, -1], [1, -1], [-1, -1]]


@pytest.mark.parametrize("norm", ["stability", "oriented_stability"])
@pytest.mark.parametrize(
    ("points", "labels", "most"), [(ROWS, [-2, -1, -3, 4, -1, 0, 1], 1.0), (PAIRS, [-2, -1, -3, -2, -1], 0.3)]
)
def test_floor_is_the_optimum_where_points_coincide_and_lie_in_rows(norm, points, labels, most):
    points, labels = np.array(points), np.array(labels, float)
    found = Floors(points, labels, norm).least_error(most)
    expected = oracles.least_error_over_cells(points, labels, most, oriented=norm == "oriented_stability")
    assert (found.lower, found.upper) == pytest.approx((expected, expected), abs=1e-7)
    assert np.abs(found.network(points) - labels).max() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("n", "d"), [(24, 2), (14, 3)])
def test_no_finer_dictionary_beats_the_floor(pyramid, norm, n, d):
    points, labels = pyramid(n, d)
    most = 0.15 if d == 2 else 0.01
    found = Floors(points, labels, norm).least_error(most)
    assert found.lower > 0.02
    rng = np.random.default_rng(0)
    w = rng.standard_normal((1500, d))
    b = -(points[rng.integers(n, size=1500)] * w).sum(1) + rng.normal(0, 0.1, 1500)
    planes = Arrangement.of(points)  # units near vertices, in general position and not the floor's own
    near = rng.integers(len(planes), size=1500)
    sign = rng.choice([-1, 1], 1500)
    w = np.vstack([w, (planes.w[near] + rng.normal(0, 1e-4, (1500, d))) * sign[:, None]])
    b = np.append(b, (planes.b[near] + rng.normal(0, 1e-4, 1500)) * sign)
    other = oracles.least_error_over_units(points, labels, most, norm, w, b)
    assert found.lower - 1e-7 <= other
    if norm != "sufficient":
        assert other < found.lower + 0.02  # and it comes near


def test_no_lasso_over_a_finer_dictionary_beats_the_rms_floor(pyramid):
    """Another solver and other units: each of its networks, of whatever norm, lies above the floor of that norm."""
    points, labels = pyramid(24)
    floors, planes = Floors(points, labels, "oriented_stability"), Arrangement.of(points)
    rng = np.random.default_rng(1)
    near = rng.integers(len(planes), size=1500)
    sign = rng.choice([-1, 1], 1500)
    w = (planes.w[near] + rng.normal(0, 1e-4, (1500, 2))) * sign[:, None]
    b = (planes.b[near] + rng.normal(0, 1e-4, 1500)) * sign
    costs = np.array([oracles.unit_cost(*unit, points, "oriented_stability") for unit in zip(w, b, strict=True)])
    kept = costs > 0
    units = (np.maximum(points @ w[kept].T + b[kept], 0)) / costs[kept]
    for penalty in (0.03, 0.02, 0.01):
        lasso = Lasso(penalty, max_iter=100_000, tol=1e-3).fit(units, labels)
        error, norm = np.sqrt(((lasso.predict(units) - labels) ** 2).mean()), np.abs(lasso.coef_).sum()
        for slack in (0.0, 1.0):
            floor = floors.least_error(norm - slack * error, slack, "rms").lower
            assert floor <= error <= floor + 0.005  # and it comes near


def test_norms_are_ordered_and_their_floors_too(pyramid):
    points, labels = pyramid(24)
    for most in (0.03, 0.1):
        plain, oriented, sufficient = (Floors(points, labels, norm).least_error(most) for norm in NORMS)
        assert plain.lower < oriented.lower < sufficient.lower <= sufficient.upper


def test_larger_steps_have_higher_floors_and_the_residual_lowers_them(pyramid):
    points, labels = pyramid(48)
    floors = Floors(points, labels)
    plain = [floors.least_error(budget(lr)).lower for lr in (1.1, 1.3, 1.6, 2.0)]
    assert 0 < plain[0] < plain[1] < plain[2] < plain[3]
    slack = residual_slack(points)
    for lr, above in zip((1.1, 1.3, 1.6, 2.0), plain, strict=True):
        found = floors.least_error(budget(lr), slack)
        assert 0 < found.lower < above
        assert abs(found.gap) < 1e-8
        assert found.norm <= budget(lr) + slack * found.error + 1e-9


def test_floor_scales_with_the_labels_and_forgets_order_and_constants(pyramid):
    points, labels = pyramid(20)
    base = Floors(points, labels).least_error(0.2).lower
    order = np.random.default_rng(0).permutation(20)
    assert Floors(points[order], labels[order] + 5).least_error(0.2).lower == pytest.approx(base, abs=1e-8)
    assert Floors(points, 1e3 * labels).least_error(200.0).lower == pytest.approx(1e3 * base, abs=1e-5)


def test_exact_norms_lie_below_those_of_a_coarse_dictionary():
    """On 250 points of the ball of radius 1.5 random units gave S = 0.29 and 0.63 at ε = 0.3 and 0.1: upper bounds."""
    run = Run.model_validate({"problem": "pyramid", "domain": "ball", "radius": 1.5, "n": 120, "lr": 1.0})
    data = dataset(run.model_dump())
    floors = Floors(data.x, data.y)
    norms = [floors.least_norm(error).lower for error in (0.3, 0.1)]
    assert 0.05 < norms[0] < 0.29
    assert 0.3 < norms[1] < 0.63


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: budget(2.5), r"lr = 2.5; expected above 0 and at most 2"),
        (lambda: budget(0.0), r"lr = 0.0; expected above 0"),
        (lambda: Floors(np.ones((3, 2)), np.ones(4)), r"points \(3, 2\), labels \(4,\); expected \(n, d\) and \(n,\)"),
        (lambda: Floors(np.ones((2, 1)), np.array([1, np.nan])), "not finite"),
        (lambda: Floors(np.ones((2, 1)), np.ones(2)).least_error(-1), "budget = -1"),
        (lambda: Floors(np.ones((2, 1)), np.ones(2)).least_norm(float("nan")), "error = nan"),
    ],
)  # fmt: skip
def test_questions_without_an_answer_are_refused(call, message):
    with pytest.raises(FloorError, match=message):
        call()
