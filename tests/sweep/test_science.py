"""Acceptance: closed forms and laws of the theory, in float64. The numbers in the names are those of the science notes."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import betainc, gamma

from relusweep.sweep import curvature, derivatives, measure
from relusweep.sweep.execute import execute
from relusweep.sweep.model import Architecture, with_ones
from relusweep.sweep.pack import Pack
from relusweep.sweep.point import Point
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure, Spec
from tests import oracles

pytestmark = pytest.mark.slow


def shallow(w, b, a, c, x, y=None) -> Point:
    """One shallow network f = a·relu(W x + b) + c at data x (n, d); targets its own outputs unless given."""
    w, b, a, x = (torch.as_tensor(np.asarray(v, float)) for v in (w, b, a, x))
    theta = torch.cat([torch.cat([w, b[:, None]], 1).flatten(), a, torch.tensor([float(c)])])[None].double()
    weights = {"w1": w, "b1": b, "w2": a, "b2": torch.tensor(float(c))}
    y = oracles.output(weights, x) if y is None else torch.as_tensor(y)
    return Point(Architecture((x.shape[1], len(a), 1), True, True), theta, with_ones(x, True), y[None].double(), None)


def chain(point: Point) -> tuple[float, float, float, float]:
    """(1 + 2S, 1 + 2S̃, MG, λ_max of Gauss–Newton)."""
    s, s_tilde = (float(value) for value in measure.stability_norms(point))
    return (
        1 + 2 * s,
        1 + 2 * s_tilde,
        float(measure.mean_gradient_bound(point)),
        float(curvature.gauss_newton_top(point).value),
    )


@pytest.mark.parametrize("s", [0.5, 1.0, 2.0])
def test_1_two_points_two_units_have_sharpness_one_plus_s_squared(s):
    a = s / math.sqrt(2)
    point = shallow([[s], [-s]], [0, 0], [a, a], 0, [[-1.0], [1.0]])
    assert chain(point) == pytest.approx([1 + s * s] * 4, rel=1e-13)
    assert float(measure.moment(point)[0]["sharpness"]) == pytest.approx(1 + s * s, rel=1e-13)


def test_1_absolute_value_times_c_has_sharpness_one_plus_root_two_c():
    for c in (0.3, 1.0, 4.0):  # s a = c with a = s/√2
        s = math.sqrt(math.sqrt(2) * c)
        point = shallow([[s], [-s]], [0, 0], [s / math.sqrt(2)] * 2, 0, [[-1.0], [1.0]])
        assert chain(point)[3] == pytest.approx(1 + math.sqrt(2) * c, rel=1e-13)


def test_2_one_datum_and_a_balanced_network_meet_the_oriented_bound():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 3))
    w, b = rng.standard_normal((5, 3)), rng.standard_normal(5)
    z = w @ x[0] + b
    a = np.maximum(z, 0) / math.sqrt(1 + x[0] @ x[0])  # ‖w‖A = |a| √(P² + ‖m‖²)
    a[z <= 0] = 0.7  # dead units may be anything
    _, oriented, mean, top = chain(shallow(w, b, a, 0.2, x))
    assert oriented == pytest.approx(top, rel=1e-12)
    assert mean == pytest.approx(top, rel=1e-12)


def test_3_eight_points_on_the_circle_meet_the_bound_exactly():
    angles = np.arange(8) * np.pi / 4
    x = np.stack([np.cos(angles), np.sin(angles)], 1)
    u = np.stack([np.cos(angles + np.pi / 8), np.sin(angles + np.pi / 8)], 1)
    t = 0.3
    active = u[0] @ x.T > t
    mean = np.maximum(u[0] @ x.T - t, 0).mean()
    balance = math.sqrt(active.mean() ** 2 + np.sum((active[:, None] * x).mean(0) ** 2))
    length = 1.3
    point = shallow(length * u, [-length * t] * 8, [length * mean / balance] * 8, 0.0, x)
    assert chain(point) == pytest.approx([chain(point)[3]] * 4, rel=1e-12)


def test_4_chain_of_bounds_holds_on_random_networks():
    rng = np.random.default_rng(4)
    gaps = []
    for _ in range(320):
        d, n, k = rng.integers(1, 9), rng.integers(1, 40), rng.integers(1, 30)
        x = rng.standard_normal((n, d)) * rng.choice([0.3, 1, 5]) + rng.choice([0, 2])
        w, a = rng.standard_normal((k, d)) * rng.choice([0.2, 1, 3]), rng.standard_normal(k) * rng.choice([0.2, 1, 3])
        values = chain(shallow(w, rng.standard_normal(k), a, rng.standard_normal(), x))
        gaps.append([(high - low) / high for low, high in itertools.pairwise(values)])
    assert np.min(gaps) > -1e-7
    assert np.max(gaps, 0).min() > 0.1  # and none of the inequalities is an equality in disguise


def test_4_chain_holds_without_biases_and_for_the_leaky_relu():
    generator = torch.Generator().manual_seed(0)
    for bias, slope in ((False, None), (True, 0.3), (False, 0.3)):
        architecture = Architecture((3, 12, 1), bias, bias)
        theta = torch.randn(40, architecture.count, dtype=torch.float64, generator=generator)
        x = with_ones(torch.randn(40, 15, 3, dtype=torch.float64, generator=generator), bias)
        y = torch.zeros(40, 15, dtype=torch.float64)
        point = Point(architecture, theta, x, y, None if slope is None else torch.full((40, 1, 1), slope).double())
        s, s_tilde = measure.stability_norms(point)
        mean, top = measure.mean_gradient_bound(point), curvature.gauss_newton_top(point).value
        for low, high in ((s, s_tilde), (bias + 2 * s_tilde, mean), (mean, top)):
            assert (low <= high * (1 + 1e-10)).all()
        assert (s_tilde > 0).any()


def test_hessian_and_gauss_newton_differ_by_the_residual_at_most():
    rng = np.random.default_rng(5)
    for _ in range(50):
        d, n, k = rng.integers(1, 5), rng.integers(2, 20), rng.integers(1, 12)
        x, y = rng.standard_normal((n, d)), rng.standard_normal(n)
        point = shallow(rng.standard_normal((k, d)), rng.standard_normal(k), rng.standard_normal(k), 0.1, x, y)
        values, _ = measure.moment(point)
        radius = (x**2).sum(1).max()
        gap = math.sqrt(1 + radius) * float(point.residual.abs().mean())
        assert abs(float(values["sharpness"] - values["gn_sharpness"])) <= gap * (1 + 1e-9)
        s_tilde = float(values["oriented_stability_norm"])
        assert s_tilde <= float(values["sharpness"]) / 2 - 0.5 + gap / 2 + 1e-9


@pytest.mark.parametrize("d", [1, 3])
def test_6_weight_function_of_the_uniform_ball_has_its_closed_form(d):
    rng = np.random.default_rng(6)
    count = 200_000
    x = rng.standard_normal((count, d))
    x *= (rng.uniform(size=(count, 1)) ** (1 / d)) / np.linalg.norm(x, axis=1, keepdims=True)
    u = np.eye(d)[0]
    for t in (0.0, 0.3, 0.7):
        c = gamma(d / 2 + 1) / (math.sqrt(math.pi) * gamma((d + 1) / 2))
        share = betainc((d + 1) / 2, 0.5, 1 - t * t) / 2
        mean = c * (1 - t * t) ** ((d + 1) / 2) / (d + 1)
        closed = (mean - t * share) * math.sqrt(share**2 + mean**2)
        if d == 1:
            assert closed == pytest.approx((1 - t) ** 3 / 8 * math.sqrt(1 + (1 + t) ** 2 / 4), rel=1e-12)
        if t == 0:
            assert closed == pytest.approx({1: 0.139754, 3: 0.100125}[d], rel=1e-5)
        sampled = float(measure.stability_norms(shallow([u], [-t], [1.0], 0.0, x))[0])
        assert sampled == pytest.approx(closed, rel=0.02)


def test_affine_function_has_no_stability_norm_yet_is_not_flat():
    rng = np.random.default_rng(7)
    x = rng.uniform(-1, 1, (30, 2))
    point = shallow([[1.0, 0.5], [-1.0, 0.3]], [9.0, 9.0], [0.4, 0.4], -3.0, x)  # both units always active
    one_plus_2s, _, _, top = chain(point)
    assert one_plus_2s == pytest.approx(1, abs=1e-12)
    assert top > 2


def test_8_gradient_descent_ends_at_the_edge_and_below_the_bound(unchecked_shapes):
    """GD on d = 2, n = 12, width 40, y = sin 2x₁ + x₂/2: λη/2 ≤ 1 on the flattest side of kinks, S ≤ S̃ ≤ 1/η - ½.

    With Gaussian inputs and N(0, 1) initial weights mean S falls from about 1.65 to 0.90 between η = 0.05 and 0.4.
    """
    rates = (0.05, 0.1, 0.2, 0.4)
    base = {
        "problem": "sine", "domain": "gaussian", "n": 12, "width": 40, "init": "normal", "output_scale": 0.3,
        "warmup_steps": 1000, "max_steps": 16_000, "tolerance": 1e-7,
    }  # fmt: skip
    runs = [Run.model_validate(base | {"lr": lr, "seed": seed}) for lr in rates for seed in range(6)]
    rows = execute(Pack(tuple(runs)), Measure(), torch.device("cpu"), "test")["runs"].to_pylist()
    ended = [row for row in rows if row["status"] == "converged"]
    assert len(ended) >= 20
    for row in ended:
        assert row["gn_sharpness_min"] * row["lr"] / 2 <= 1 + 1e-3
        assert row["stability_norm"] <= row["oriented_stability_norm"] <= 1 / row["lr"] - 0.5
    by_rate = {lr: [row for row in ended if row["lr"] == lr] for lr in rates}
    assert np.median([row["eos_ratio"] for row in by_rate[0.4]]) > 0.98  # it is the edge that they meet
    norms = [np.mean([row["stability_norm"] for row in by_rate[lr]]) for lr in rates]
    assert norms == sorted(norms, reverse=True)  # larger steps find flatter functions
    assert norms[0] > 1.5 * norms[-1]


def test_heavy_ball_ends_at_an_edge_of_its_own(unchecked_shapes):
    """As above with momentum μ = 0.5: λη/2 reaches 1 + μ and not more, and S̃ ≤ (1+μ)/η - ½."""
    base = {
        "problem": "sine", "domain": "gaussian", "n": 12, "width": 40, "init": "normal", "output_scale": 0.3,
        "warmup_steps": 1000, "max_steps": 12_000, "tolerance": 1e-7, "optimizer": "momentum", "momentum": 0.5,
    }  # fmt: skip
    runs = [Run.model_validate(base | {"lr": lr, "seed": seed}) for lr in (0.2, 0.4) for seed in range(6)]
    rows = execute(Pack(tuple(runs)), Measure(), torch.device("cpu"), "test")["runs"].to_pylist()
    ended = [row for row in rows if row["status"] == "converged"]
    assert len(ended) >= 8
    for row in ended:
        assert row["gn_sharpness_min"] * row["lr"] / 2 <= 1.5 * (1 + 1e-3)
        assert row["oriented_stability_norm"] <= 1.5 / row["lr"] - 0.5
    ratios = [row["eos_ratio"] for row in ended]
    assert np.median(ratios) > 1.2  # far beyond the edge of gradient descent
    assert max(ratios) > 0.99 * 1.5


def pyramid_network(d: int, s: float, q: float, a: float, c2: float, n: int = 400) -> Point:
    """[1 - ‖x‖₁]₊ as 2d units σ(±s x_i) and one unit of weights -q, bias c₂ and output weight a, on the ball."""
    rng = np.random.default_rng(9)
    x = rng.standard_normal((n, d))
    x *= rng.uniform(size=(n, 1)) ** (1 / d) / np.linalg.norm(x, axis=1, keepdims=True)
    first = np.concatenate([s * np.eye(d), -s * np.eye(d)])
    theta = np.concatenate([np.c_[first, np.zeros(2 * d)].ravel(), [-q] * (2 * d), [c2], [a], [0.0]])
    y = torch.from_numpy(np.maximum(1 - np.abs(x).sum(1), 0))
    inputs = with_ones(torch.from_numpy(x), True)
    return Point(Architecture((d, 2 * d, 1, 1), True, True), torch.from_numpy(theta)[None], inputs, y[None], None)


@pytest.mark.parametrize("d", [2, 3])
def test_9_two_hidden_layers_realise_the_pyramid_stably(d):
    unit = pyramid_network(d, 1.0, 1.0, 1.0, 1.0)
    assert float(measure.loss(unit)) < 1e-30
    x, p = unit.x[:, :d].numpy(), unit.y[0].numpy()
    inside = p > 0
    trace = float(derivatives.gram(unit, unit.derivatives).diagonal(dim1=1, dim2=2).sum())
    closed = 1 + np.mean(inside * (p**2 + 1 + (x**2).sum(1) + d * ((x**2).sum(1) + 1)))
    assert trace == pytest.approx(closed, rel=1e-9)
    run = Run.model_validate({"problem": "pyramid", "d": d, "width": 2 * d, "width2": 1, "depth": 2, "lr": 1.0})
    j = oracles.jacobian(oracles.weights_of(unit.theta[0].numpy(), run), torch.from_numpy(x))
    top = float(curvature.gauss_newton_top(unit).value)
    assert top == pytest.approx(float(torch.linalg.eigvalsh(j @ j.T / len(x))[-1]), rel=1e-9)
    assert top < 2 / 0.9  # stable at step sizes where shallow networks cannot follow
    s, a = 0.8, 1.25
    rescaled = pyramid_network(d, s, 1 / (a * s), a, 1 / a)
    assert float(measure.loss(rescaled)) < 1e-30


BALL = {"domain": "ball", "radius": 1.5, "init": "kaiming"}


@pytest.mark.parametrize(
    ("law", "deep", "seeds"), [(BALL, {"width": 12, "width2": 6}, 16), ({}, {"width": 16, "width2": 16}, 4)]
)
def test_10_at_a_large_step_deep_networks_learn_the_pyramid_and_shallow_ones_do_not(law, deep, seeds, unchecked_shapes):
    """GD at η = 0.9, d = 2, n = 48, on the ball and the l1 ball: of a constant's loss of 0.03 deep ones leave little."""
    base = {"problem": "pyramid", "n": 48, "lr": 0.9, "warmup_steps": 3000, "max_steps": 16_000, "tolerance": 0.0} | law
    losses = {}
    for name, shape in {"shallow": {"width": 96}, "deep": {"depth": 2} | deep}.items():
        runs = tuple(Run.model_validate(base | shape | {"seed": seed}) for seed in range(seeds))
        found = execute(Pack(runs), Measure(every="tail:5"), torch.device("cpu"), "test")
        moments = [moment for moment in found["trajectories"].to_pylist() if moment["step"] > 1]
        losses[name] = np.median([moment["loss"] for moment in moments])
    assert losses["deep"] < 1e-4
    assert losses["shallow"] > 1e-3


@pytest.mark.usefixtures("unchecked_shapes")
def test_five_points_of_wu_simsek_and_ged_come_to_their_loss_at_every_seed():
    pack = Pack(tuple(Spec.read("wu_five_points").expand()))
    rows = execute(pack, Measure(), torch.device("cpu"), "local")["runs"].to_pylist()
    assert [row["steps"] for row in rows] == [60_000] * 8
    losses = sorted(row["loss"] / 0.01394298056 for row in rows)
    assert losses == pytest.approx([1] * 8, rel=1e-4)
    assert losses[1:] == pytest.approx([1] * 7, rel=1e-9)  # one is about to leave


def test_orthogonal_points_come_to_the_interpolant_of_least_norm_from_tiny_weights_alone():
    rows = execute(Pack(tuple(Spec.read("orthogonal_points").expand())), Measure(), torch.device("cpu"), "local")[
        "runs"
    ]
    assert rows["loss"].to_numpy().max() < 1e-24
    tiny = [row for row in rows.to_pylist() if row["init_scale"] < 1]
    norm = math.sqrt(2 * (1 / math.sqrt(1.25) + 1 / math.sqrt(5)))
    assert [row["parameter_norm"] for row in tiny] == pytest.approx([norm] * 4, rel=1e-6)
    assert [row["sharpness"] for row in tiny] == pytest.approx([math.sqrt(5)] * 4, rel=1e-6)
    large = [row for row in rows.to_pylist() if row["init_scale"] == 1]
    assert min(row["parameter_norm"] for row in large) > 1.3 * norm


def test_three_points_are_left_at_the_line_of_least_squares_by_tiny_weights_alone():
    rows = execute(Pack(tuple(Spec.read("three_points").expand())), Measure(), torch.device("cpu"), "local")["runs"]
    x, y = np.array([-0.75, -0.5, 0.125]), np.array([1.1, 0.1, 0.8])
    line = np.linalg.lstsq(np.c_[x, np.ones(3)], y, rcond=None)[1].item() / 6  # (1/2n) Σ r²
    losses = {scale: [row["loss"] for row in rows.to_pylist() if row["init_scale"] == scale] for scale in (1e-3, 1.0)}
    assert losses[1e-3] == pytest.approx([line] * 4, rel=1e-12)
    assert max(losses[1.0]) < 1e-24
