"""The largest eigenvalue is found, and proved to be it, in every regime: against dense spectra of 20,000 networks."""

import itertools
import random

import numpy as np
import pytest
import torch

from relusweep.sweep import curvature, derivatives
from relusweep.sweep.data import dataset
from relusweep.sweep.execute import execute
from relusweep.sweep.pack import Pack
from relusweep.sweep.point import Point
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from tests import oracles
from tests.sweep.cases import point_of
from tests.sweep.regimes import REGIMES, RESIDUALS, dense, point

pytestmark = pytest.mark.slow

NETWORKS = 20_480


def check(found, matrices, at: Point, regime) -> None:
    top = torch.linalg.eigvalsh((matrices + matrices.mT) / 2)[:, -1]
    missed = (found.value - top).abs() > found.residual + 1e-10 * top.abs() + 1e-13
    assert not missed.any(), (regime, found.value[missed], top[missed])
    assert found.residual.isfinite().all(), f"{regime}: no proof"
    assert (found.residual <= 1e-4 * top.abs() + 1e-11).all(), regime
    assert (found.residual <= 1e-6 * top.abs() + 1e-11).double().mean() > 0.95, regime


def test_the_top_is_found_and_proved_in_every_regime(monkeypatch):
    finite = 0
    for seed, regime in enumerate(REGIMES):
        if random.Random(-seed - 1).random() < 1 / 8:
            monkeypatch.setattr(Point, "programs", None)  # the tensors, as on a GPU
        at = point(*regime, seed)
        assert at.theta.isfinite().all(), regime
        newton = curvature.gauss_newton_top(at)
        j = derivatives.jacobian(at)
        check(newton, torch.bmm(j.mT, j) / at.n, at, regime)
        check(curvature.hessian_top(at, newton), dense(at, derivatives.hessian_product), at, regime)
        finite += len(at.theta)
        monkeypatch.undo()
    assert finite >= NETWORKS


def test_of_networks_too_large_to_be_diagonalised_the_top_is_proved_too():
    ways = itertools.product((True, False, "hidden"), RESIDUALS, (0, 1, 300))
    for seed, (bias, scale, steps) in enumerate(ways):
        at = point({"depth": 1, "width": 280, "d": 1}, bias, scale, steps, seed, count=3)
        assert at.architecture.count > 512
        check(curvature.hessian_top(at), dense(at, derivatives.hessian_product), at, (bias, scale, steps))


def test_barely_trained_networks_with_large_residuals_record_their_largest_eigenvalue():
    """Without biases positive and negative inputs are uncoupled, and Gauss–Newton's vector lies in one half."""
    fixed = {"problem": "noise", "noise": 30.0, "d": 1, "n": 17, "n_test": 0, "width": 40, "bias": False}
    runs = tuple(
        Run.model_validate(fixed | {"lr": 1e-9, "max_steps": 1, "tolerance": 0.0, "seed": s}) for s in range(60)
    )
    tables = execute(Pack(runs), Measure(save_weights=True), torch.device("cpu"), "test")
    rows, weights = tables["runs"].to_pylist(), tables["weights"].to_pylist()
    for row, saved, run in zip(rows, weights, runs, strict=True):
        data = dataset(run.model_dump())
        numbers = {
            "w1": torch.tensor(saved["w1"]).double().reshape(40, 1),
            "w2": torch.tensor(saved["w2"]).double(),
        }
        h = oracles.hessian(numbers, torch.from_numpy(data.x), torch.from_numpy(data.y))
        assert row["sharpness"] == pytest.approx(float(torch.linalg.eigvalsh(h)[-1]), rel=1e-6)
        assert row["sharpness_residual"] is not None


@pytest.mark.parametrize("case", [{"width": 30}, {"depth": 2, "width": 9, "width2": 5}, {"width": 9, "d": 20}], ids=str)
@pytest.mark.parametrize("bias", [True, False, "hidden"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_residual_term_is_bounded_and_the_closer_bound_is_closer(case, bias, activation):
    _, _, at = point_of({"n": 12, "bias": bias, "activation": activation} | case)
    term = dense(at, derivatives.hessian_product) - dense(at, derivatives.gauss_newton_product)
    norm = torch.linalg.matrix_norm(term, ord=2)
    loosely, closely = curvature.residual_term_bound(at), curvature.residual_term_bound(at, closely=True)
    assert (norm <= closely * (1 + 1e-12)).all()
    assert (closely <= loosely * (1 + 1e-12)).all()
    if "depth" not in case:
        torch.testing.assert_close(closely, norm, rtol=1e-10, atol=0)


def test_trace_of_gauss_newton():
    for case in (
        {"width": 9, "d": 2},
        {"depth": 2},
        {"width": 9, "d": 2, "bias": "hidden"},
        {"width": 9, "d": 20, "bias": False},
    ):
        _, _, at = point_of(case | {"n": 12})
        expected = torch.einsum("bii->b", dense(at, derivatives.gauss_newton_product))
        torch.testing.assert_close(derivatives.gauss_newton_trace(at), expected)
        pair = at.programs.top_eigenpair(at.networks, exact=False, tolerance=1e-12)
        second = torch.linalg.eigvalsh(dense(at, derivatives.gauss_newton_product))[:, -2]
        assert (pair.rest >= second * (1 - 1e-12)).all()
        assert (pair.rest <= expected).all()


@pytest.mark.parametrize("bias", [True, False, "hidden"])
@pytest.mark.parametrize("exact", [True, False])
def test_inertia_bounds_the_spectrum_from_the_largest_eigenvalue_on(bias, exact):
    at = point({"depth": 1, "width": 24, "d": 2}, bias=bias, scale=30.0, steps=1, seed=1)
    product = derivatives.hessian_product if exact else derivatives.gauss_newton_product
    top = torch.linalg.eigvalsh(dense(at, product))[:, -1]
    assert curvature.bounds_spectrum(at, top * (1 + 1e-9), exact=exact).all()
    for share in (1 - 1e-9, 0.9, 0.1, 1e-3, 0.0):
        assert not curvature.bounds_spectrum(at, share * top, exact=exact).any()


def test_a_pair_that_cannot_be_proved_says_so_and_is_searched_for_twice(monkeypatch):
    """As of a large network: what is found is right here, and the residual infinite."""
    at = point({"depth": 1, "width": 40, "d": 1}, bias=False, scale=1000.0, steps=1, seed=0)
    proved = curvature.hessian_top(at)
    monkeypatch.setattr(curvature, "_SPECTRUM", 0)
    found = curvature.hessian_top(at)
    assert found.residual.isinf().any()
    torch.testing.assert_close(found.value, proved.value, rtol=1e-6, atol=0)


def test_networks_that_are_not_finite_have_no_curvature_and_the_others_have():
    _, _, at = point_of({"width": 40, "n": 9, "bias": False})
    expected = curvature.hessian_top(at).value
    theta = at.theta.clone()
    theta[1] = np.nan
    found = curvature.hessian_top(Point(at.architecture, theta, at.x, at.y, at.slope))
    assert found.value[1].isnan()
    assert torch.equal(found.value[::2], expected[::2])
