"""Which networks are left to the compiled measures."""

from sweep.kernels import shallow
from tests.sweep.kernels.test_curvature import point_of


def test_deep_networks_and_many_features_are_left_to_tensors():
    for case in ({"depth": 2, "width": 4, "d": 2, "n": 5}, {"width": 4, "d": 16, "n": 5}):
        _, _, point = point_of(case)
        assert not shallow.supports(point.architecture, point.x)
