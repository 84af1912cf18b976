"""Programme: the best network of a few units, in both measures, against what one sees without a solver."""

import numpy as np
import pytest

from relusweep.analysis.floor.programme import least_rms, least_sup

UNIT, COST, FREE = np.array([[0.0, 0.0, 1.0]]), np.array([0.5]), np.ones((3, 1))
LABELS = np.array([0.0, 0.0, 1.0])


@pytest.mark.parametrize(("budget", "error"), [(0.0, 0.5), (0.25, 0.25), (0.5, 0.0), (9.0, 0.0)])
def test_sup_error_falls_with_the_budget_of_a_single_unit(budget, error):
    amplitudes, free, weights = least_sup(UNIT, COST, FREE, LABELS, budget, 0.0, None)
    assert np.abs(amplitudes @ UNIT + FREE @ free - LABELS).max() == pytest.approx(error, abs=1e-9)
    assert weights.sum() == pytest.approx(0, abs=1e-9)  # orthogonal to what is free


def test_least_norm_for_a_sup_error_is_that_of_the_part_that_is_missing():
    amplitudes, *_ = least_sup(UNIT, COST, FREE, LABELS, None, 0.0, 0.25)
    assert np.abs(amplitudes) @ COST == pytest.approx(0.25)


def test_units_that_cannot_come_so_near_have_no_solution():
    assert least_sup(np.array([[1.0, 1.0, 0.0]]), COST, FREE, np.array([0.0, 1.0, 0.0]), None, 0.0, 0.1) is None


@pytest.mark.parametrize("slack", [0.0, 0.7])
def test_rms_error_is_that_of_least_squares_with_the_norm_that_is_left(slack):
    amplitudes, free, weights = least_rms(UNIT, COST, FREE, LABELS, 0.2, slack)
    residual = amplitudes @ UNIT + FREE @ free - LABELS
    error = np.sqrt((residual**2).mean())
    assert np.abs(amplitudes) @ COST == pytest.approx(0.2 + slack * error)
    assert error == pytest.approx((1 - amplitudes[0]) * np.std(LABELS))
    assert weights == pytest.approx(-residual)
