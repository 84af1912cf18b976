"""Network: it attains what was promised of it, and is stable where the theorem says so."""

import numpy as np
import pytest
import torch

from relusweep.analysis.floor import Floors, budget
from tests import oracles
from tests.analysis.floor.conftest import NORMS


@pytest.mark.parametrize("norm", NORMS)
def test_network_attains_the_upper_bound(pyramid, norm):
    points, labels = pyramid(32)
    for found in (Floors(points, labels, norm).least_error(0.3), Floors(points, labels, norm).least_norm(0.05)):
        net = found.network
        assert np.abs(net(points) - labels).max() == pytest.approx(found.error, abs=1e-5)
        cost = sum(
            abs(a) * oracles.unit_cost(w, b, points, norm) for w, b, a in zip(net.w1, net.b1, net.w2, strict=True)
        )
        assert cost == pytest.approx(found.norm, rel=1e-5)
        if norm != "sufficient":
            assert abs(found.gap) < 1e-8


def test_sufficient_network_is_stable_once_balanced(pyramid):
    points, labels = pyramid(32)
    lr = 0.9
    net = Floors(points, labels, "sufficient").least_error(budget(lr)).network
    z = points @ net.w1.T + net.b1
    output = np.sqrt((np.maximum(z, 0) ** 2).mean(0))
    inner = np.sqrt(((z > 0) * (1 + (points**2).sum(1))[:, None]).mean(0))
    factor = np.sqrt(np.abs(net.w2) * inner / output)  # of w and b; the two parts of a unit's trace are then equal
    weights = {
        "w1": torch.from_numpy(net.w1 * factor[:, None]), "b1": torch.from_numpy(net.b1 * factor),
        "w2": torch.from_numpy(net.w2 / factor), "b2": torch.tensor(net.b2).double(),
    }  # fmt: skip
    x = torch.from_numpy(points)
    np.testing.assert_allclose(oracles.output(weights, x), net(points), atol=1e-6)
    hessian = oracles.hessian(weights, x, oracles.output(weights, x))  # at its own outputs: an interpolating minimum
    assert torch.linalg.eigvalsh(hessian)[-1] <= 2 / lr * (1 + 1e-6)
    assert torch.trace(hessian) == pytest.approx(2 / lr, rel=1e-4)
