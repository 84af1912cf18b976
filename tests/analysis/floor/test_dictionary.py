"""Dictionary: what its units cost, and that no unit of their cells is cheaper for what it does."""

import numpy as np
import pytest

from relusweep.analysis.floor import Dictionary
from tests import oracles
from tests.analysis.floor.conftest import NORMS


@pytest.mark.parametrize("norm", NORMS)
def test_no_random_unit_pays_more_than_the_best_of_the_dictionary(norm, pyramid):
    points, _ = pyramid(16)
    dictionary = Dictionary.of(points, norm)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(16)
    weights -= dictionary.free @ np.linalg.lstsq(dictionary.free, weights, rcond=None)[0]
    best = dictionary.ratios(weights).max()
    lower = Dictionary.of(points, "sufficient_below").ratios(weights).max()
    limit = best if norm != "sufficient" else lower
    assert best <= limit + 1e-12
    for w in rng.standard_normal((500, 2)):
        b = -(points[rng.integers(16)] + rng.normal(0, 0.3, 2)) @ w
        cost = oracles.unit_cost(w, b, points, norm)
        assert abs(weights @ np.maximum(points @ w + b, 0)) <= limit * cost + 1e-12


def test_every_unit_has_a_price_and_zeros_on_its_hyperplane(pyramid):
    points, _ = pyramid(9)
    dictionary = Dictionary.of(points, "oriented_stability")
    assert (dictionary.cost > 0).all()
    outputs = dictionary.outputs(np.arange(len(dictionary)))
    assert (outputs >= 0).all()
    assert ((outputs > 0).sum(1) <= 9 - 2).all()
    for unit in range(0, len(dictionary), 7):
        assert dictionary.active(unit)[outputs[unit] > 0].all()


def test_data_that_coincide_have_no_units():
    dictionary = Dictionary.of(np.ones((3, 2)), "stability")
    assert len(dictionary) == 0
    assert dictionary.ratios(np.zeros(3)).shape == (0,)
