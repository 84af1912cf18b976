"""Which compiled measures serve which networks."""

from relusweep.sweep.kernels.measures import layered, shallow
from tests.sweep.kernels.measures.test_curvature import point_of


def test_deep_networks_and_many_features_are_left_to_blas():
    assert point_of({"width": 4, "d": 15, "n": 5})[2].programs is shallow
    for case in ({"depth": 2, "width": 4, "d": 2, "n": 5}, {"width": 4, "d": 16, "n": 5}):
        assert point_of(case)[2].programs is layered
