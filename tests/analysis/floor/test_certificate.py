"""Certificate: it holds for every unit, and proves nothing where there is nothing to prove."""

import numpy as np
import pytest

from relusweep.analysis.floor import Floors
from tests import oracles
from tests.analysis.floor.conftest import NORMS


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("slack", [0.0, 1.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_nothing_is_proved_of_labels_that_are_met_but_for_rounding(norm, slack, d):
    rng = np.random.default_rng(d)
    for n in range(1, d + 2):
        points = rng.standard_normal((n, d))
        for labels in (points @ np.arange(1.0, d + 1) + 0.3, np.full(n, 0.1)):
            floors = Floors(points, labels, norm)
            for measure in ("rms", "sup"):
                found = floors.least_error(0.0 if norm == "stability" else 1e3, slack, measure)
                assert found.lower <= found.upper + 1e-9
                assert found.lower < 1e-9


@pytest.mark.parametrize("norm", NORMS)
def test_certificate_holds_for_random_units(pyramid, norm):
    points, labels = pyramid(32)
    proof = Floors(points, labels, norm).least_error(0.3).certificate
    assert proof.weights.sum() == pytest.approx(0, abs=1e-12)
    if norm == "stability":
        assert np.abs(proof.weights @ points).max() < 1e-12
    rng = np.random.default_rng(2)
    for _ in range(3000):
        w = rng.standard_normal(2)
        b = -(points[rng.integers(32)] + rng.normal(0, 0.3, 2)) @ w
        cost = oracles.unit_cost(w, b, points, norm)
        assert abs(proof.weights @ np.maximum(points @ w + b, 0)) <= proof.ratio * cost * (1 + 1e-9) + 1e-13
    assert proof.labels == pytest.approx(proof.weights @ labels)


@pytest.mark.parametrize("slack", [0.0, 1.0])
@pytest.mark.parametrize("norm", ["stability", "oriented_stability"])
def test_least_rms_error_is_certified_and_attained(pyramid, norm, slack):
    points, labels = pyramid(32)
    found = Floors(points, labels, norm).least_error(0.1, slack, "rms")
    assert found.lower > 0.03
    assert abs(found.gap) < 1e-8
    assert np.sqrt(((found.network(points) - labels) ** 2).mean()) == pytest.approx(found.error, abs=1e-6)
    costs = [oracles.unit_cost(w, b, points, norm) for w, b in zip(found.network.w1, found.network.b1, strict=True)]
    assert np.abs(found.network.w2) @ costs == pytest.approx(0.1 + slack * found.error, rel=1e-5)
    proof = found.certificate
    rng = np.random.default_rng(3)
    for w in rng.standard_normal((1000, 2)):
        b = -(points[rng.integers(32)] + rng.normal(0, 0.3, 2)) @ w
        cost = oracles.unit_cost(w, b, points, norm)
        assert abs(proof.weights @ np.maximum(points @ w + b, 0)) <= proof.ratio * cost * (1 + 1e-9) + 1e-13
    size = np.sqrt(32) * np.linalg.norm(proof.weights)
    assert (proof.weights @ labels - proof.ratio * 0.1) / (size + slack * proof.ratio) == pytest.approx(found.lower)
