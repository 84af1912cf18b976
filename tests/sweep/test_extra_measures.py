"""Extra measures equal closed forms and slow oracles; a user's own are checked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from relusweep.sweep import own_code, trust
from relusweep.sweep.dataset import DataError
from relusweep.sweep.extra import BUILT_IN
from relusweep.sweep.extra_measures import extra_measures, try_out
from relusweep.sweep.measured import Measured
from relusweep.sweep.model import initial_parameters
from relusweep.sweep.point import Point
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from tests import oracles
from tests.sweep.cases import CASES, point_of


def measured(case, count=3) -> Measured:
    runs, _, at = point_of(case, count)
    return Measured(tuple(runs), at)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_built_in_measures_equal_slow_ones(case) -> None:
    networks = measured(case)
    at = networks.point
    moved = Measured(networks.runs, Point(at.architecture, at.theta + 0.1, at.x, at.y, at.slope))
    found = extra_measures(Measure(extra=tuple(name for name in BUILT_IN if name != "spectrum")), moved)
    for b, run in enumerate(networks.runs):
        weights = {name: w[b] for name, w in moved.weights.items()}
        slope = 0.0 if at.slope is None else float(at.slope[b])
        x, y = moved.x[b], at.y[b]
        h = oracles.hessian(weights, x, y, slope)
        assert float(found["trace"][b]) == pytest.approx(float(h.trace()), rel=1e-10, abs=1e-12)
        least = float(torch.linalg.eigvalsh(h)[0])
        assert float(found["least_eigenvalue"][b]) == pytest.approx(least, rel=1e-8, abs=1e-10)
        rates = [float((unit > 0).double().mean()) for z in moved.pre_activations for unit in z[b]]
        assert float(found["activation_rate_mean"][b]) == pytest.approx(np.mean(rates))
        assert float(found["activation_rate_max"][b]) == max(rates)
        assert float(found["rarely_active_fraction"][b]) == pytest.approx(np.mean(np.array(rates) <= 0.1))
        assert float(found["parameter_l1"][b]) == pytest.approx(sum(float(w.abs().sum()) for w in weights.values()))
        start = torch.from_numpy(initial_parameters(run))
        assert float(torch.stack([found[f"distance_{k}"][b] for k in range(1, 2 + run.depth)]).norm()) == pytest.approx(
            float((moved.parameters[b] - start).norm())
        )
        sizes = sorted(float(abs(r)) for r in oracles.output(weights, x, slope) - y)
        margin = sizes[-1] - sizes[-2] if len(sizes) > 1 else np.nan
        assert float(found["residual_margin"][b]) == pytest.approx(margin, nan_ok=True, abs=1e-12)


def test_distance_of_one_unit_in_closed_form() -> None:
    networks = measured({"width": 2, "d": 2, "n": 3}, count=1)
    step = torch.zeros_like(networks.parameters)
    step[0, 0], step[0, 5], step[0, 6], step[0, 8] = 3.0, 4.0, 5.0, 12.0  # w1, b1 of the second unit, w2, b2
    at = networks.point
    moved = Measured(networks.runs, Point(at.architecture, at.theta + step, at.x, at.y, at.slope))
    found = extra_measures(Measure(extra=("distance",)), moved)
    assert [float(found[name]) for name in ("distance_1", "distance_2")] == pytest.approx([5.0, 13.0])


def test_measured_networks_show_what_the_oracles_show() -> None:
    for case in ({"width": 4, "d": 2, "n": 5}, {"depth": 2, "width": 3, "width2": 2, "d": 1, "n": 5, "bias": "hidden"}):
        networks = measured(case)
        v = torch.randn(networks.parameters.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        assert networks.initial_parameters.equal(networks.parameters)
        for b in range(3):
            weights = {name: w[b] for name, w in networks.weights.items()}
            f = oracles.output(weights, networks.x[b])
            torch.testing.assert_close(networks.residuals[b], f - networks.y[b])
            order = torch.cat([part.flatten() for part in weights.values()])  # w1, b1, w2 …: the oracle's
            assert order.abs().sum() == pytest.approx(float(networks.parameters[b].abs().sum()))
            j = networks.jacobian()[b]
            torch.testing.assert_close(networks.gauss_newton_product(v)[b], j.T @ (j @ v[b]) / 5)
            h = oracles.hessian(weights, networks.x[b], networks.y[b])  # whose parameters have another order
            products = [networks.hessian_product(e.expand_as(v))[b] for e in torch.eye(v.shape[1]).double()]
            values = torch.linalg.eigvalsh(torch.stack(products, 1))
            torch.testing.assert_close(values, torch.linalg.eigvalsh(h), rtol=1e-9, atol=1e-11)


# The user's own ------------------------------------------------------------------------------------------------------

FILE = """
import torch
from relusweep.sweep.measured import Measured  # for its documentation

def widest(networks: Measured):
    return networks.weights["w1"].norm(dim=-1).amax(-1)

def two(networks):
    return [[1.5, float(r)] for r in networks.residuals[:, 0]]

def wide(networks):
    return networks.parameters

def short(networks):
    return [1.0] * (len(networks.runs) + 1)

def text(networks):
    return "many"

def none(networks):
    return None

def imaginary(networks):
    return torch.zeros(len(networks.runs), dtype=torch.complex64)

def fails(networks):
    return networks.weight
"""


@pytest.fixture
def own(tmp_path: Path, forget: Callable[[], None]) -> Callable[[str], Measure]:
    forget()
    (tmp_path / "mine.py").write_text(FILE)

    def make(function: str) -> Measure:
        source = own_code.source_of(f"mine.py:{function}", tmp_path)
        trust.permit([own_code.content_in(source)])
        return Measure(extra=(f"mine.py:{function}",), sources={f"mine.py:{function}": source})

    return make


def test_own_measures_make_columns_of_their_name(own: Callable[[str], Measure]) -> None:
    networks = measured({"width": 4, "d": 2, "n": 5})
    found = extra_measures(own("widest"), networks)
    assert {name: len(column) for name, column in found.items()} == {"widest": 3}
    assert float(found["widest"][1]) == float(networks.weights["w1"][1].norm(dim=-1).max())
    assert {name: column.tolist() for name, column in extra_measures(own("two"), networks).items()} == {
        "two_1": [1.5] * 3, "two_2": networks.residuals[:, 0].tolist(),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("short", r"mine.py:short: returned the shape .4,. for 3 networks; expected real numbers of the shape .3,., or .3, k."),
        ("text", "mine.py:text: returned str for 3 networks"),
        ("none", "mine.py:none: returned NoneType for 3 networks"),
        ("imaginary", "mine.py:imaginary: returned Tensor for 3 networks"),
        ("fails", "mine.py, line [0-9]+: AttributeError: .*weight.*; expected fails to run without an exception"),
        ("gone", "mine.py:gone: no function 'gone'"),
    ],
)  # fmt: skip
def test_own_measures_that_fail_are_one_line(own: Callable[[str], Measure], function: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        extra_measures(own(function), measured({"width": 4, "d": 2, "n": 5}))
    assert "\n" not in str(caught.value)


def test_what_would_fail_at_the_end_fails_before_the_start(own: Callable[[str], Measure]) -> None:
    run = Run.model_validate({"problem": "sine", "lr": 0.1, "width": 200})
    with pytest.raises(
        DataError, match=r"\[measure\] extra: 'spectrum' of a network of 801 parameters; expected at most 512"
    ):
        try_out(Measure(extra=("spectrum",)), run)
    with pytest.raises(DataError, match="mine.py, line [0-9]+: AttributeError"):
        try_out(own("fails"), run)
    with pytest.raises(DataError, match="returned the shape .2, 801."):
        try_out(own("wide"), run)
    try_out(own("widest"), run)
    try_out(Measure(extra=("spectrum:5", "trace")), run)
