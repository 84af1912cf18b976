"""Controls of the depth study on planted runs: what is counted, each by itself, and what is refuted."""

import pytest

from tests.analysis.studies.conftest import verdict
from tests.analysis.studies.depth_separation.conftest import CONSTANT, RATES


def outcomes(result):
    return dict(result.tables["controls"].select("control", "outcome").rows())


@pytest.mark.slow
def test_each_control_is_counted_by_itself(studied, both, network):
    rows = [
        *both(0.9),
        *both(0.9, optimizer="sgd"),
        *both(9.0, warmup_steps=0),
        *both(0.9, init="kaiming", seeds=3),
        *both(9.0, problem="bump", domain="l1_ball", seeds=3),
        *both(9.0, rates=(0.05,), max_steps=320_000),
        *(network(lr, seed, 16, lr_ratio=0.0) for lr in RATES for seed in range(4)),
    ]
    result = studied(rows)
    assert outcomes(result) == {
        "claim": "as expected",
        "smooth target": "as expected",
        "vanishing step sizes": "as expected",
        "initial weights": "as expected",
        "warm-up": "refuted",
        "mini-batches": "as expected",
        "frozen second layer": "found",
    }
    refuted = verdict(result, "Control, warm-up")
    assert (refuted.answer, refuted.sentence[:17]) == ("no", "NOT AS EXPECTED: ")
    assert "so does the frozen one in 8 of 8 pairs" in verdict(result, "frozen").sentence
    assert len(result.tables["settings"]) == 6  # the frozen ones share that of the deep ones they are set beside


@pytest.mark.slow
def test_widest_shallow_networks_are_counted_by_themselves(studied, both, network):
    wide = [network(lr, seed, width=64, loss=1e-5) for lr in RATES for seed in range(4)]  # fit at every step size
    result = studied([*both(0.9), *wide])
    assert outcomes(result) == {"claim": "as expected", "widest networks": "refuted"}
    sentence = verdict(result, "Control, widest networks").sentence
    assert sentence.startswith("NOT AS EXPECTED: the shallow network fails in 0 of 8 pairs")
    table = result.tables["widest"]
    assert table["lr"].to_list() == [*RATES]
    assert table.select("shape", "pairs", "fits", "deep_fits", "separated").rows() == [("shallow 64", 4, 4, 4, 0)] * 4
    more = [*both(0.9, n=10), *(network(lr, seed, width=64, n=10, loss=0.01) for lr in RATES for seed in range(4))]
    sentence = verdict(studied([*both(0.9), *wide, *more], name="more"), "Control, widest networks").sentence
    assert sentence.endswith(" n = 10: 8 of 8, n = 20: 0 of 8.")


@pytest.mark.slow
def test_small_steps_that_have_not_gone_as_far_are_no_control(studied, both):
    """At η = 0.1 it takes 160,000 steps to get as far as 20,000 do at η = 0.8; before, a failure may be no end."""
    short, far = (both(0.01, rates=(lr,), max_steps=160_000) for lr in (0.099, 0.1))
    result = studied([*both(0.9), *short, *far])
    assert outcomes(result)["vanishing step sizes"] == "refuted"
    assert "fails in 4 of 4 pairs" in verdict(result, "vanishing step sizes").sentence
    assert any(note.startswith("8 runs at η ≤ 0.1 have too few steps") for note in result.notes)


@pytest.mark.slow
def test_runs_that_depart_in_two_things_are_no_control(studied, both):
    two = [{"optimizer": "sgd", "init": "kaiming"}, {"init": "xavier", "warmup_steps": 0}, {"optimizer": "momentum"}]
    rows = [*both(0.9), *(run for given in two for run in both(9.0, seeds=1, **given))]
    assert set(outcomes(studied(rows))) == {"claim"}


@pytest.mark.slow
def test_smooth_target_that_separates_refutes_the_claim(studied, both):
    result = studied([*both(0.9), *both(0.9, problem="bump", domain="l1_ball", bandwidth=2.0)])
    assert outcomes(result)["smooth target"] == "refuted"
    assert "bandwidth 2" in verdict(result, "smooth target").question


@pytest.mark.slow
def test_claim_is_about_relu_networks_with_biases_on_noiseless_labels_in_two_dimensions_or_more(studied, both):
    departures = [
        {"activation": "leaky_relu", "negative_slope": 0.1}, {"bias": False}, {"noise": 0.1}, {"weight_decay": 0.01},
        {"domain": "ball"}, {"d": 1}, {"lr_ratio": 0.5},
    ]  # fmt: skip
    alone = studied(both(0.9, seeds=8)).tables["controls"]
    rows = [*both(0.9, seeds=8), *(row for given in departures for row in both(0.9, rates=(0.9,), seeds=1, **given))]
    assert studied(rows).tables["controls"].equals(alone)


@pytest.mark.slow
def test_only_smooth_targets_are_called_so(studied, both):
    sine, teacher = ({"problem": name, "domain": "l1_ball"} for name in ("sine", "teacher"))
    result = studied([*both(0.9), *both(9.0, seeds=2, **sine), *both(9.0, seeds=2, **teacher)])
    assert result.tables["controls"].filter(control="smooth target")["problem"].to_list() == ["sine"]


@pytest.mark.slow
def test_as_many_parameters_means_within_a_tenth(studied, both, network):
    matched = [network(lr, seed, loss=0.5 * CONSTANT, width=84) for lr in RATES for seed in range(4)]  # 337, as 16-16
    result = studied([*both(0.9), *matched])
    assert outcomes(result)["equal parameters"] == "as expected"
    controls = result.tables["controls"].filter(control="equal parameters").row(0, named=True)
    assert (controls["pairs"], controls["separated"]) == (8, 8)
