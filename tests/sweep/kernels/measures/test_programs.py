"""Which compiled measures serve which networks, and that all of them keep the contract."""

import pytest
import torch

from relusweep.sweep.kernels.measures import layered, shallow
from relusweep.sweep.kernels.measures.programs import PROGRAMS, Programs, choose
from relusweep.sweep.point import Point
from tests.sweep.cases import point_of


def test_deep_networks_and_many_features_are_left_to_blas():
    assert point_of({"width": 4, "d": 15, "n": 5})[2].programs is shallow
    for case in ({"depth": 2, "width": 4, "d": 2, "n": 5}, {"width": 4, "d": 16, "n": 5}):
        assert point_of(case)[2].programs is layered


def test_on_other_devices_tensors_measure():
    point = point_of({"width": 4, "d": 2, "n": 5})[2]
    elsewhere = Point(point.architecture, *(tensor.to("meta") for tensor in (point.theta, point.x, point.y)), None)
    assert choose(elsewhere.networks) is None
    assert elsewhere.survey is None


@pytest.mark.parametrize("programs", PROGRAMS, ids=lambda programs: programs.__name__.rpartition(".")[2])
def test_every_set_keeps_the_contract(programs):
    assert isinstance(programs, Programs)


@pytest.mark.slow
def test_both_sets_agree_where_both_measure():
    point = point_of({"width": 9, "d": 3, "n": 20})[2]
    assert all(programs.supports(point.networks) for programs in PROGRAMS)
    surveys = [torch.stack(programs.survey(point.networks)) for programs in PROGRAMS]
    torch.testing.assert_close(*surveys, rtol=1e-12, atol=1e-14)
    values = [programs.top_eigenpair(point.networks, exact=True).value for programs in PROGRAMS]
    torch.testing.assert_close(*values, rtol=1e-9, atol=0)
    lr = torch.full((3,), 0.1, dtype=torch.float64)
    (one,), (other,) = (programs.on_kink(point.networks, lr, 1e-9) for programs in PROGRAMS)
    assert torch.equal(one, other)
