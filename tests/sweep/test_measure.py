"""Measures against slow oracles on random networks; closed forms stand in test_science.py."""

import numpy as np
import pytest
import torch

from relusweep.sweep import curvature, derivatives, measure
from relusweep.sweep.model import Architecture, with_ones
from relusweep.sweep.pack import Pack
from relusweep.sweep.point import Point
from relusweep.sweep.run import Run
from relusweep.sweep.train import Training
from tests import oracles
from tests.sweep.cases import CASES, point_of


def slope_of(point: Point, b: int) -> float:
    return 0.0 if point.slope is None else float(point.slope[b])


def layered(architecture: Architecture, weights: dict, matrix: torch.Tensor) -> torch.Tensor:
    """Reorder the columns of an oracle's Jacobian, w1 b1 w2 …, into rows [w_i, b_i]."""
    numbers, start = {}, 0
    for name, w in weights.items():
        numbers[name] = torch.arange(start, start + w.numel()).reshape(w.shape)
        start += w.numel()
    order = []
    for index in range(1, len(architecture.shapes) + 1):
        w = numbers[f"w{index}"].reshape(-1, architecture.sizes[index - 1])
        bias = f"b{index}" in numbers
        order.append(torch.cat([w, numbers[f"b{index}"].reshape(-1, 1)], 1) if bias else w)
    return matrix[..., torch.cat([block.reshape(-1) for block in order])]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gram_and_jacobian_equal_autograd(case):
    runs, x, point = point_of(case)
    gram, jacobian = derivatives.gram(point, point.derivatives), derivatives.jacobian(point)
    for b, run in enumerate(runs):
        weights = oracles.weights_of(point.theta[b].numpy(), run)
        j = oracles.jacobian(weights, x[b], slope_of(point, b))
        scale = j.norm() ** 2 / run.n
        assert (gram[b] - j @ j.T / run.n).abs().max() <= 1e-13 * scale
        assert (jacobian[b] - layered(point.architecture, weights, j)).abs().max() <= 1e-13 * j.norm()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_hessian_products_equal_autograd(case):
    runs, x, point = point_of(case)
    unit = torch.eye(point.architecture.count, dtype=torch.float64)
    dense = torch.stack([derivatives.hessian_product(point)(e.expand(len(runs), -1)) for e in unit], -1)
    for b, run in enumerate(runs):
        weights = oracles.weights_of(point.theta[b].numpy(), run)
        expected = oracles.hessian(weights, x[b], point.y[b], slope_of(point, b))
        expected = layered(point.architecture, weights, layered(point.architecture, weights, expected).T)
        assert (dense[b] - expected).abs().max() <= 1e-13 * expected.norm()


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [*CASES, {"width": 40, "n": 12}, {"width": 3, "n": 60}, {"depth": 2, "n": 30}], ids=str
)
def test_sharpness_of_both_kinds_is_the_top_of_the_dense_spectrum(case):
    runs, x, point = point_of(case)
    measures, _ = measure.moment(point)
    for b, run in enumerate(runs):
        weights = oracles.weights_of(point.theta[b].numpy(), run)
        h = oracles.hessian(weights, x[b], point.y[b], slope_of(point, b))
        j = oracles.jacobian(weights, x[b], slope_of(point, b))
        top = torch.linalg.eigvalsh(h)[-1]
        assert abs(measures["sharpness"][b] - top) <= measures["sharpness_residual"][b] + 1e-11 * top.abs()
        torch.testing.assert_close(measures["sharpness"][b], top, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(
            measures["gn_sharpness"][b], torch.linalg.eigvalsh(j.T @ j / run.n)[-1], rtol=1e-11, atol=1e-12
        )
        torch.testing.assert_close(measures["mean_gradient_bound"][b], (j.mean(0) ** 2).sum(), rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(measures["loss"][b], oracles.loss(weights, x[b], point.y[b], slope_of(point, b)))
        torch.testing.assert_close(measures["parameter_norm"][b], point.theta[b].norm())


def test_gauss_newton_by_products_equals_the_dense_one(monkeypatch):
    _, _, point = point_of({"depth": 2, "width": 20, "n": 30})
    dense = curvature.gauss_newton_top(point).value
    monkeypatch.setattr(curvature, "FORMED", 4)  # as if n and p were large
    torch.testing.assert_close(curvature.gauss_newton_top(point).value, dense, rtol=1e-9, atol=0)


def test_stability_norms_equal_the_weight_function_unit_by_unit():
    for seed in range(20):
        runs, x, point = point_of({"width": 9, "n": 14, "d": 1 + seed % 4}, seed=seed)
        shallow, oriented = measure.stability_norms(point)
        for b, run in enumerate(runs):
            s, s_tilde = oracles.stability_norms(oracles.weights_of(point.theta[b].numpy(), run), x[b].numpy())
            assert float(shallow[b]) == pytest.approx(s, rel=1e-12)
            assert float(oriented[b]) == pytest.approx(s_tilde, rel=1e-12)


def test_dead_units_count_nothing_and_are_counted():
    _, _, point = point_of({"width": 4, "n": 6, "d": 2})
    theta = point.theta.clone()
    rows = theta[:, :12].unflatten(1, (4, 3))
    rows[:, 0] = torch.tensor([0.0, 0.0, -1.0])  # inactive everywhere
    rows[:, 1] = 0.0  # all weights zero: z = 0 on every datum, and on no kink
    dead = Point(point.architecture, theta, point.x, point.y, None)
    without = theta.clone()
    without[:, 12:14] = 0.0
    for one, other in zip(
        measure.stability_norms(dead),
        measure.stability_norms(Point(point.architecture, without, point.x, point.y, None)),
        strict=True,
    ):
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one, other)
    assert (measure.dead_fraction(dead) >= 0.5).all()
    lr = torch.full((3,), 0.0, dtype=torch.float64)
    assert all(not marks[:, :2].any() for marks in measure.on_kink(dead, lr))


@pytest.mark.parametrize("compiled", [True, False])
def test_datum_on_a_kink_is_counted_and_the_flatter_side_found(compiled, monkeypatch):
    """Two units, two data, one datum on the first unit's kink: its active side is the flatter one here."""
    architecture = Architecture((1, 2, 1), bias=True, output_bias=True)
    w, b, a = np.array([0.1, 2.0]), np.array([0.1, 3.0]), np.array([1.0, 0.2])
    x = np.array([-1.0, 5.0])  # w x + b = 0 at the first datum
    theta = torch.tensor([[w[0], b[0], w[1], b[1], a[0], a[1], 0.0]], dtype=torch.float64)
    y = torch.tensor([[float(a @ np.maximum(w * t + b, 0)) for t in x]], dtype=torch.float64)
    point = Point(architecture, theta, with_ones(torch.from_numpy(x)[:, None], True), y, None)
    modes = []
    for side in (0.0, 1.0):
        features = []
        for t, first in zip(x, (side, 1.0), strict=True):
            active = np.array([first, 1.0])
            features.append(np.concatenate([a * active * t, a * active, np.maximum(w * t + b, 0), [1]]))
        modes.append(np.linalg.eigvalsh(np.array(features) @ np.array(features).T / 2)[-1])
    kinks = measure.on_kink(point, torch.tensor([0.1], dtype=torch.float64))
    if not compiled:
        monkeypatch.setattr(Point, "programs", None)
    recorded = curvature.gauss_newton_top(point)
    assert kinks[0][0].tolist() == [[True, False], [False, False]]
    assert modes[1] < modes[0]
    assert float(recorded.value) == pytest.approx(modes[0])
    assert float(measure.least_gauss_newton_sharpness(point, recorded, kinks)) == pytest.approx(modes[1])


def test_datum_that_the_next_step_takes_across_counts_as_on_the_kink():
    architecture = Architecture((1, 1, 1), bias=True, output_bias=True)
    theta = torch.tensor([[1.0, 1e-4, 1.0, 0.0]], dtype=torch.float64)
    x = with_ones(torch.tensor([[0.0], [1.0]], dtype=torch.float64), True)
    y = torch.tensor([[-0.1, 0.9]], dtype=torch.float64)  # pushes the bias down
    point = Point(architecture, theta, x, y, None)
    for lr, count in ((0.1, 1), (1e-5, 0)):
        assert int(measure.on_kink(point, torch.tensor([lr], dtype=torch.float64))[0].sum()) == count


def test_shared_inputs_give_the_same_measures_as_copies_of_them():
    runs, x, point = point_of({"width": 6, "n": 10, "d": 3})
    shared = Point(point.architecture, point.theta, point.x[0], point.y, None)
    copies = Point(point.architecture, point.theta, point.x[:1].expand(3, -1, -1).clone(), point.y, None)
    for name, value in measure.moment(shared)[0].items():
        torch.testing.assert_close(value, measure.moment(copies)[0][name], rtol=1e-11, atol=1e-12)
    assert len(runs) == 3
    assert x.shape[0] == 3


@pytest.mark.parametrize("steps", [0, 20])
def test_sharpness_is_found_where_gauss_newton_points_elsewhere(steps):
    """At tiny weights the top of Gauss–Newton is the output bias, and the top of the Hessian is in the other weights."""
    run = Run.model_validate({"problem": "digits", "n": 64, "width": 4, "init_scale": 1e-7, "lr": 0.05})
    training = Training(Pack((run,)), torch.device("cpu"))
    training.advance(steps, lambda: None) if steps else None
    x, y = training.inputs(slice(0, 1))
    point = Point(training.architecture, training.state["theta"], x, y, None)
    weights = oracles.weights_of(point.theta[0].numpy(), run)
    dense = torch.linalg.eigvalsh(oracles.hessian(weights, x[:, :64].contiguous(), y[0]))[-1]
    values, _ = measure.moment(point)
    assert float(values["gn_sharpness"]) < 0.95 * float(dense)
    torch.testing.assert_close(values["sharpness"][0], dense, rtol=1e-8, atol=0)


def test_residual_correction_bounds_the_gap_between_the_two_sharpnesses():
    for case in ({"width": 9, "n": 14, "d": 3}, {"width": 9, "n": 14, "d": 3, "bias": False}, {"bias": "hidden"}):
        _, _, point = point_of(case, count=20)
        values, _ = measure.moment(point)
        correction = curvature.residual_correction(point)
        assert ((values["sharpness"] - values["gn_sharpness"]).abs() <= correction * (1 + 1e-9)).all()
        one = 1.0 if point.architecture.output_bias else 0.0
        assert (one + 2 * values["oriented_stability_norm"] <= values["sharpness"] + correction).all()
