import polars as pl
import pytest

from relusweep.analysis.bounds import BOUNDS, OUTCOMES, TOLERANCE, check_chain, judge
from tests import oracles


def outcome(frame, row, bound="sharpness"):
    return judge(frame([row]), BOUNDS[bound]).row(0, named=True)


@pytest.mark.parametrize("name", BOUNDS)
def test_bound_names_its_statement_direction_assumptions_and_source(name):
    bound = BOUNDS[name]
    assert bound.name == name
    assert "≤" in bound.statement
    assert bound.direction == "upper"
    assert len(bound.assumptions) >= 3
    assert any(origin in bound.source for origin in ("NeurIPS", "ICLR", "derived in this project"))


def test_sharpness_limit_is_2_over_lr(frame, row):
    assert outcome(frame, row(lr=0.25))["limit"] == 8.0


@pytest.mark.parametrize("name", ["stability_norm", "oriented_stability_norm"])
@pytest.mark.parametrize(("bias", "limit"), [(True, 3.5), (False, 4.0)])
def test_norm_limit_is_half_smaller_with_an_output_bias(frame, row, name, bias, limit):
    assert outcome(frame, row(lr=0.25, bias=bias), name)["limit"] == limit


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("optimizer", "oracle"), [("momentum", oracles.heavy_ball), ("nesterov", oracles.nesterov)])
def test_momentum_has_the_limit_beyond_which_it_is_unstable(frame, row, momentum, optimizer, oracle):
    heavy = row(lr=0.2, optimizer=optimizer, momentum=momentum)
    limit = outcome(frame, heavy)["limit"]
    assert oracles.growth(oracle(limit * (1 - 1e-6), 0.2, momentum)) < 1
    assert oracles.growth(oracle(limit * (1 + 1e-6), 0.2, momentum)) > 1
    for name in ("stability_norm", "oriented_stability_norm"):
        assert outcome(frame, heavy, name)["limit"] == pytest.approx((limit - 1) / 2)


def test_run_with_momentum_is_judged_by_its_own_edge(frame, row):
    heavy = {"optimizer": "momentum", "momentum": 0.5}
    assert outcome(frame, row(eos=1.4, **heavy))["outcome"] == "holds"
    assert outcome(frame, row(eos=1.6, **heavy))["outcome"] == "violates"
    kinked = outcome(frame, row(lr=0.1, eos=1.6, knot_points=1, gn_sharpness_min=29.0, **heavy))
    assert (kinked["outcome"], kinked["least_edge_ratio"]) == ("on_kinks", pytest.approx(29 / 30))


HEAVY = {"optimizer": "momentum", "momentum": 0.5}
NESTEROV = {"optimizer": "nesterov", "momentum": 0.5}


@pytest.mark.parametrize(
    ("kinds", "edge", "norm"),
    [
        ([{}], "2/η", "1/η − ½"),
        ([{"optimizer": "sgd", "batch_size": 8}], "2/η", "1/η − ½"),
        ([{"bias": False}], "2/η", "1/η"),
        ([{}, {"bias": False}], "2/η", "1/η − ½ (without output bias 1/η)"),
        ([HEAVY], "2(1+μ)/η", "(1+μ)/η − ½"),
        ([HEAVY, {}], "2(1+μ)/η", "(1+μ)/η − ½"),
        ([NESTEROV, {}], "2(1+μ)/(1+2μ)/η", "(1+μ)/(1+2μ)/η − ½"),
        ([HEAVY, {"bias": False}], "2(1+μ)/η", "(1+μ)/η − ½ (without output bias (1+μ)/η)"),
        ([{**HEAVY, "bias": False}], "2(1+μ)/η", "(1+μ)/η"),
        ([{}, {"bias": False, "status": "budget"}, {**HEAVY, "status": "diverged"}], "2/η", "1/η − ½"),
        ([{"bias": False, "status": "budget"}], "2/η", "1/η"),  # none is covered
    ],
)
def test_statement_has_the_limits_of_the_runs_it_covers(frame, row, kinds, edge, norm):
    runs = frame([row(seed=seed, **kind) for seed, kind in enumerate(kinds)])
    statements = [bound.spoken_of(runs).statement for bound in BOUNDS.values()]
    assert statements == [f"λ_max ≤ {edge}", f"S ≤ {norm}", f"S̃ ≤ {norm}"]


@pytest.mark.parametrize("bias", [True, False])
def test_norm_limits_are_met_when_the_chain_is_tight_at_the_edge(frame, row, bias):
    judged = outcome(frame, row(lr=0.1, eos=1.0, share=1.0, bias=bias), "oriented_stability_norm")
    assert judged["ratio"] == pytest.approx(1)
    assert judged["outcome"] == "holds"


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize(("excess", "expected"), [(0.0, "holds"), (0.9, "holds"), (1.1, "violates")])
def test_bound_is_tolerant_by_a_thousandth_of_the_step_size(frame, row, name, excess, expected):
    lr = 0.1
    edge = 2 / lr * (1 + excess * TOLERANCE)
    values = {"sharpness": edge, "stability_norm": (edge - 1) / 2, "oriented_stability_norm": (edge - 1) / 2}
    assert outcome(frame, row(lr, **values, gn_sharpness=edge), name)["outcome"] == expected


@pytest.mark.parametrize("name", BOUNDS)
def test_run_on_kinks_is_judged_on_its_flattest_side(frame, row, name):
    beyond = row(eos=1.007, share=1.0, stability_norm=9.57)
    flat, steep = {"gn_sharpness_min": 19.88}, {"gn_sharpness_min": 20.06}
    assert outcome(frame, beyond | flat | {"knot_points": 2}, name)["outcome"] == "on_kinks"
    assert outcome(frame, beyond | steep | {"knot_points": 2}, name)["outcome"] == "violates"
    assert outcome(frame, beyond | flat | {"knot_points": 0}, name)["outcome"] == "violates"
    assert outcome(frame, beyond | flat | {"knot_points": None}, name)["outcome"] == "violates"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "diverged"}, "diverged"),
        ({"status": "budget"}, "step budget"),
        ({"optimizer": "adam"}, "threshold is not one of λ_max"),
        ({"lr_ratio": 0.0}, "different step sizes"),
        ({"lr_ratio": float("inf")}, "different step sizes"),
        ({"weight_decay": 1e-3}, "weight decay"),
        ({"warmup_steps": 6000}, "warm-up"),
        ({"optimizer": "adamw"}, "threshold is not one of λ_max"),
        ({"schedule": "cosine"}, "falls until the end"),
        ({"optimizer": "sgd", "batch_size": 8, "sampling": "epoch"}, "depend on each other"),
        ({"label_noise": 0.1}, "labels change"),
        ({"sharpness": None}, "sharpness not recorded"),
        ({"sharpness": float("nan")}, "sharpness not recorded"),
    ],
)
def test_run_outside_the_assumptions_is_not_covered_however_sharp(frame, row, change, reason):
    judged = outcome(frame, row(**{"eos": 3.0} | change))
    assert judged["outcome"] == "not_covered"
    assert reason in judged["reason"]


@pytest.mark.parametrize("change", [{"depth": 2}, {"activation": "leaky_relu"}])
def test_sharpness_bound_needs_no_shallow_relu_network_but_norm_bounds_do(frame, row, change):
    assert outcome(frame, row(**change))["outcome"] == "holds"
    assert outcome(frame, row(**change), "stability_norm")["outcome"] == "not_covered"


def test_norm_bound_is_not_claimed_where_residuals_matter(frame, row):
    judged = outcome(frame, row(eos=0.9, gn_sharpness=18.5), "stability_norm")
    assert judged["reason"] == "stopped before the Hessian became the Gauss–Newton matrix"


def test_sgd_is_covered(frame, row):
    assert outcome(frame, row(optimizer="sgd", batch_size=8))["outcome"] == "holds"


def test_ratio_is_undefined_where_the_limit_is_not_positive(frame, row):
    judged = outcome(frame, row(lr=2.5, eos=1.2, share=0.0), "stability_norm")
    assert judged["limit"] < 0
    assert judged["ratio"] is None
    assert judged["outcome"] == "violates"  # no network with an output bias is stable at lr > 2


def test_judge_keeps_order_and_gives_every_run_one_outcome(frame, sweep):
    runs = frame(sweep)
    for bound in BOUNDS.values():
        judged = judge(runs, bound)
        assert judged["run_id"].to_list() == runs["run_id"].to_list()
        assert set(judged["outcome"]) <= set(OUTCOMES)
        assert runs.select(bound.applies).to_series().to_list() == (judged["outcome"] != "not_covered").to_list()


def test_chain_holds_with_and_without_biases(frame, row, sweep):
    chain = check_chain(frame([*sweep, row(bias=False), row(bias=False, seed=1, status="budget")]))
    assert chain["runs"].to_list() == [len(sweep) + 2] * 4
    assert chain["violations"].to_list() == [0, 0, 0, 0]


def test_chain_finds_a_wrong_measure(frame, row):
    good = row()
    bad = row(seed=1, mean_gradient_bound=good["gn_sharpness"] * (1 + 1e-6))
    chain = check_chain(frame([good, bad]))
    assert chain["violations"].to_list() == [0, 0, 1, 0]
    assert chain["worst_excess"][2] == pytest.approx(1e-6)


def test_corrected_link_holds_far_from_interpolation_and_can_break(frame, row):
    far = row(status="budget", sharpness=1.0, residual_correction=0.0)
    chain = check_chain(frame([row(seed=1, status="budget"), far]))
    assert chain["link"][3] == "1+2S̃ ≤ λ_max(H) + √(1+R²) mean |r|"
    assert chain["violations"].to_list() == [0, 0, 0, 1]


def test_chain_is_checked_only_where_it_is_a_theorem(frame, row):
    rows = [row(depth=2), row(activation="leaky_relu"), row(status="diverged"), row(seed=1, stability_norm=None)]
    chain = check_chain(frame(rows))
    assert chain["runs"].to_list() == [0, 0, 0, 0]
    assert chain["worst_excess"].null_count() == 4
    assert chain.schema["violations"] == pl.Int64
