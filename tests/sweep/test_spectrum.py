"""Spectrum: eigenvalues equal those of dense Hessians in every regime, whichever way they are found."""

import pytest
import torch

from relusweep.sweep import derivatives, spectrum
from relusweep.sweep.curvature import hessian
from tests import oracles
from tests.sweep.cases import CASES, networks, point_of
from tests.sweep.regimes import REGIMES, dense, point


def eigenvalues(at) -> torch.Tensor:
    matrices = dense(at, derivatives.hessian_product)
    return torch.linalg.eigvalsh((matrices + matrices.mT) / 2)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_formed_hessians_are_those_of_autograd(case) -> None:
    runs, x, at = point_of(case)
    for b, run in enumerate(runs):
        weights = {name: w[b] for name, w in at.architecture.named(at.theta).items()}
        slope = 0.0 if at.slope is None else float(at.slope[b])
        expected = torch.linalg.eigvalsh(oracles.hessian(weights, x[b], at.y[b], slope)).flip(0)
        torch.testing.assert_close(spectrum.whole(at.rows(slice(b, b + 1)))[0], expected, rtol=1e-9, atol=1e-11)
        assert hessian(at.rows(slice(b, b + 1))).shape == (1, len(expected), len(expected))
        assert run.seed == b


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [0, 8], ids=["one by one", "at once"])
@pytest.mark.parametrize("at_last", [0, 2048], ids=["what is not proved is not known", "what is not proved is formed"])
def test_largest_and_least_equal_dense_ones_or_are_not_known(monkeypatch, at_once, at_last) -> None:
    """By Lanczos and by counting, as of large networks."""
    monkeypatch.setattr(spectrum, "FORMED", 0)
    monkeypatch.setattr(spectrum, "_AT_ONCE", at_once)
    monkeypatch.setattr(spectrum, "_FORMED_AT_LAST", at_last)
    known = shallow = 0
    for seed, regime in enumerate(REGIMES):
        if seed % 11 != (at_last > 0):
            continue
        at = point(*regime, seed).rows(slice(0, 6))
        expected = eigenvalues(at).flip(1)
        scale = expected.abs().amax(1, keepdim=True) + 1e-12
        found = spectrum.largest(at, 4)
        is_known = found.isfinite()
        assert ((found - expected[:, :4]).abs() <= 1e-5 * scale)[is_known].all(), regime
        least = spectrum.least(at)
        assert ((least - expected[:, -1]).abs() <= 1e-5 * scale[:, 0])[least.isfinite()].all(), regime
        if at_last:
            assert is_known.all(), regime
            assert least.isfinite().all(), regime
        elif regime[0]["depth"] == 1:
            shallow += is_known.numel()
            known += int(is_known.sum())
        else:
            assert at_once or not is_known.any()
            assert not least.isfinite().any()
    assert at_last or known > 0.9 * shallow


@pytest.mark.parametrize("at_once", [0, 8], ids=["one by one", "at once"])
def test_eigenvalues_that_coincide_are_found_each(at_once) -> None:
    """Half of the units see half of the inputs, and a mirror of both is the other half: every eigenvalue comes twice."""
    _, architecture, theta, x, y, slope = networks({"width": 6, "d": 2, "n": 8, "bias": False})
    half = x.abs()
    half[:, 4:] = -half[:, :4]
    y[:, 4:] = y[:, :4]
    w1 = theta[:, :12].abs_().reshape(-1, 6, 2)
    w1[:, 3:] = -w1[:, :3]
    theta[:, 15:18] = theta[:, 12:15]
    at = spectrum.Point(architecture, theta, half, y, slope)
    expected = eigenvalues(at).flip(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spectrum, "FORMED", 0)
        patch.setattr(spectrum, "_FORMED_AT_LAST", 0)
        patch.setattr(spectrum, "_AT_ONCE", at_once)
        found = spectrum.largest(at, 4)
    torch.testing.assert_close(found, expected[:, :4], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found[:, 0], found[:, 1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("bias", [True, False, "hidden"])
def test_eigenvalues_beyond_a_level_are_counted(scale, bias) -> None:
    _, _, at = point_of({"width": 7, "d": 2, "n": 9, "bias": bias}, count=40)
    at = spectrum.Point(at.architecture, at.theta, at.x, scale * at.y, at.slope)
    expected = eigenvalues(at)
    for share in (0.01, 0.3, 0.9, 1.1):
        level = share * expected.abs().amax(1)
        assert spectrum.above(at, level).tolist() == (expected > level[:, None]).sum(1).tolist()
        assert spectrum.below(at, level).tolist() == (expected < -level[:, None]).sum(1).tolist()


def test_there_are_no_more_eigenvalues_than_parameters() -> None:
    _, _, at = point_of({"width": 1, "n": 3, "d": 1, "bias": False})
    found = spectrum.largest(at, 5)
    assert found[:, :2].isfinite().all()
    assert found[:, 2:].isnan().all()
