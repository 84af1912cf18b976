"""Networks as arrays: contiguous, with one set of inputs or one each, and no slope for the ReLU."""

import numpy as np

from tests.sweep.cases import point_of


def test_arrays_hold_what_the_tensors_hold():
    for shared in (True, False):
        point = point_of({"width": 4, "d": 2, "n": 5, "activation": "leaky_relu"}, shared=shared)[2]
        theta, x, y, slopes = point.networks.arrays()
        np.testing.assert_array_equal(theta, point.theta)
        np.testing.assert_array_equal(x, point.x[None] if shared else point.x)
        np.testing.assert_array_equal(y, point.y)
        np.testing.assert_array_equal(slopes, point.slope[:, 0, 0])
        assert all(array.flags.c_contiguous for array in (theta, x, y, slopes))


def test_a_relu_is_leaky_with_slope_zero():
    assert point_of({"width": 4, "d": 2, "n": 5})[2].networks.arrays()[3].tolist() == [0.0] * 3
