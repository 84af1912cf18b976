"""The depth study on planted runs: what is counted, what is refuted, and how loudly; and on a tiny sweep of real ones."""

import re

import numpy as np
import polars as pl
import pytest
import torch

from analysis.floor import Floors, budget, residual_slack
from analysis.sheet import save
from analysis.studies.depth_separation import study
from analysis.studies.depth_separation_arms import FITS, arms
from analysis.studies.depth_separation_figures import output
from analysis.studies.depth_separation_findings import critical
from analysis.table import load
from analysis.witness import Witness
from sweep.data import dataset
from sweep.execute import execute
from sweep.pack import Pack
from sweep.run import Run
from sweep.spec import Measure, Spec
from sweep.store import Store

RATES = (0.1, 0.4, 0.9, 1.5)
CONSTANT = 0.02  # about the loss of the best constant in d = 2


@pytest.fixture
def network(row):
    """A recorded run on the pyramid: shallow with a width, deep with two."""

    def make(lr, seed, width2=None, loss=1e-5, **given):
        shape = {"width": 16, "width2": width2, "depth": 2} if width2 else {"width": 32}
        if width2:
            shape |= dict.fromkeys(("stability_norm", "oriented_stability_norm"))
        data = {"problem": "pyramid", "d": 2, "n": 20, "n_test": 8, "warmup_steps": 100}
        status = {"status": "budget", "loss": loss, "train_rmse": (2 * loss) ** 0.5}
        return row(lr, seed, **(data | shape | status | given))

    return make


@pytest.fixture
def both(network):
    """Shallow and deep runs; the shallow ones fail from a step size on, `critical`, which a seed may have its own of."""

    def make(critical, rates=RATES, seeds=4, **given):
        lost = [critical] * seeds if isinstance(critical, float) else critical
        return [
            network(lr, seed, width2, 0.5 * CONSTANT if lr >= lost[seed] and not width2 else 1e-5, **given)
            for lr in rates
            for seed in range(seeds)
            for width2 in (None, 16)
        ]

    return make


@pytest.fixture
def studied(store):
    return lambda rows, **given: study(load([store(rows, **given)]))


@pytest.fixture
def splits(frame):
    """The critical step sizes of the one setting of some runs."""

    def find(rows):
        found = arms(
            frame(list(rows)), pl.DataFrame(schema={"run_id": pl.String, "step": pl.Int64, "loss": pl.Float64})
        )
        return critical(found.runs, found.grouping).row(0, named=True)

    return find


def verdict(result, words):
    (found,) = [v for v in result.verdicts if words in v.question]
    return found


CLAIM = "d = 2: do shallow networks fail at the pyramid where deep ones fit"


def test_separation_is_found_with_its_critical_step_sizes(studied, both):
    result = studied(both([0.9, 0.9, 0.9, 1.5]))
    found = verdict(result, CLAIM)
    assert (found.answer, found.about) == ("yes", "finding")
    assert "fails in 7 of 8 pairs of runs whose deep one fits (87.5 %)" in found.sentence
    assert "the medians lie between 0.4 and 0.9" in found.sentence
    row = result.tables["critical"].row(0, named=True)
    assert (row["pairs"], row["separated"], row["low"], row["high"]) == (4, 4, 0.4, 0.9)
    assert row["ratio"] == pytest.approx(0.9 / 0.4)
    assert (row["low_q10"], row["high_q90"]) == (0.4, 1.5)


def test_refined_step_sizes_of_single_seeds_narrow_the_critical_one(studied, both, network):
    refined = [network(lr, 0, None, loss) for lr, loss in ((0.6, 1e-5), (0.735, 0.5 * CONSTANT))]
    alone = studied([*both(0.9, seeds=1), *refined]).tables["critical"].row(0, named=True)
    assert (alone["low"], alone["high"]) == (0.6, 0.735)


@pytest.mark.parametrize(
    ("shallow", "deep", "low", "high"),
    [
        ({0.1, 0.4, 0.9, 1.5}, {0.1, 0.4, 0.9, 1.5}, None, None),
        ({0.1, 0.9}, {0.1, 0.4, 0.9, 1.5}, 0.9, 1.5),  # comes back
        ({0.4, 0.9}, {0.1, 0.4, 0.9, 1.5}, 0.9, 1.5),  # unfinished at a small step
        ({0.1, 0.4}, {0.1, 0.4, 1.5}, 0.4, 1.5),  # neither fits between
        ({0.1, 0.4}, {0.1, 0.4}, None, None),  # shallow stands what deep does
        ({0.9}, {0.1, 0.4}, None, None),
        (set(), {0.1, 0.4, 0.9}, None, None),
    ],
)
def test_critical_step_size_lies_above_the_last_fit_of_shallow_and_below_a_fit_of_deep(
    splits, network, shallow, deep, low, high
):
    row = splits(
        network(lr, 0, width2, 1e-5 if lr in fits else 0.5 * CONSTANT)
        for lr in RATES
        for width2, fits in ((None, shallow), (16, deep))
    )
    assert (row["low"], row["high"], row["separated"]) == (low, high, int(high is not None))
    assert row["never"] == (not shallow)


def test_refined_step_size_counts_only_where_deep_fits_at_the_next_larger_one(splits, both, network):
    rows = both(9.0, rates=(0.4, 0.9), seeds=1)
    rows += [network(lr, 0, width2, 0.5 * CONSTANT) for lr, width2 in ((1.5, 16), (1.2, None), (1.6, None))]
    row = splits(rows)
    assert (row["pairs"], row["separated"], row["high"]) == (1, 0, None)


def test_shallow_network_that_fits_nowhere_has_no_critical_step_size(studied, both):
    result = studied(both([0.9, 0.9, 0.01, 0.01]))
    row = result.tables["critical"].row(0, named=True)
    assert (row["pairs"], row["separated"], row["never"], row["low"], row["high"]) == (4, 2, 2, 0.4, 0.9)
    sentence = verdict(result, CLAIM).sentence
    assert "In 2 of 4 pairs of seeds the shallow network fits at no step size at all" in sentence
    assert "critical step size" not in sentence  # half of the seeds are not most


def test_setting_with_a_single_step_size_has_no_critical_one(studied, network):
    result = studied([network(0.9, 0, None, 0.5 * CONSTANT), network(0.9, 0, 16, 1e-5)])
    assert result.tables["critical"].is_empty()


def test_no_separation_is_said_loudly(studied, both):
    result = studied(both(9.0))
    found = verdict(result, CLAIM)
    assert found.answer == "no"
    assert found.sentence.startswith("NO SEPARATION: ")
    assert result.tables["critical"]["separated"].to_list() == [0]
    assert "critical" not in result.figures


def test_where_no_deep_network_fits_nothing_is_claimed(studied, network):
    result = studied([network(lr, seed, w, 0.5 * CONSTANT) for lr in RATES for seed in range(2) for w in (None, 16)])
    assert verdict(result, CLAIM).answer == "open"
    assert result.tables["critical"]["high"].null_count() == 1


def test_diverged_runs_do_not_fit_and_have_no_loss(studied, network):
    rows = [network(0.9, s, 16) for s in range(2)]
    rows += [network(0.9, 0, status="diverged"), network(0.9, 1, loss=0.5 * CONSTANT)]
    result = studied(rows)
    assert "fails in 2 of 2 pairs" in verdict(result, CLAIM).sentence
    assert any(note.startswith("1 of 4 runs diverged") for note in result.notes)
    shallow = result.tables["summary"].filter(arm="shallow").row(0, named=True)
    assert (shallow["runs"], shallow["diverged"], shallow["tail_loss_median"]) == (2, 1, pytest.approx(0.5 * CONSTANT))


def test_losses_are_means_over_the_last_tenth_of_the_steps_where_there_are_moments(studied, network):
    swinging, plain = network(0.9, 0, loss=1e-6, max_steps=1000), network(0.9, 1, loss=1e-6, max_steps=1000)
    moments = [
        {"run_id": swinging["run_id"], "step": step, "loss": loss}
        for step, loss in ((1, 7.0), (900, 5.0), (950, 0.02), (1000, 0.01))
    ]
    result = studied([swinging, plain], trajectories=moments)
    row = result.tables["summary"].row(0, named=True)
    assert row["tail_moments"] == 2
    assert row["tail_loss_q90"] == pytest.approx(1e-6 + 0.9 * (0.015 - 1e-6))
    assert result.notes[1].startswith(
        "Training losses are means over the moments of the last tenth of the steps for 1 of 2"
    )
    assert "1 of these had not converged" in result.notes[1]


# The theorems --------------------------------------------------------------------------------------------------------

FLOOR = "Is every shallow network above the certified floor"


def test_run_below_its_floor_is_an_alarm_and_is_listed(studied, both, network):
    planted = network(1.5, 9, loss=1e-8)
    result = studied([*both(0.9), planted])
    found = verdict(result, FLOOR)
    assert (found.level, found.about) == ("refuted", "theorem")
    assert found.sentence.startswith("BEATEN by 1 of ")
    assert result.tables["below_floor"]["run_id"].to_list() == [planted["run_id"]]


def test_floor_is_that_of_the_runs_own_sharpness(studied, both, network):
    sharp = network(1.5, 9, loss=1e-8, eos=20.0)  # no minimum of this step size: nothing forbids it
    result = studied([*both(0.9), sharp])
    found = verdict(result, FLOOR)
    assert found.level == "confirmed"
    assert "None of 4 runs with a floor above 0" in found.sentence
    floors = result.tables["floors"]
    assert floors["lr"].to_list() == [0.9, 1.5]
    assert (floors["floor_rmse"] <= floors["reached_rmse"]).all()
    assert (floors["reached_rmse"] < floors["constant_rmse"]).all()


def test_floor_of_a_step_size_is_claimed_of_plain_steps_only(studied, network):
    others = [{"optimizer": "momentum"}, {"optimizer": "adam"}, {"weight_decay": 1e-3}, {"lr_ratio": 0.5}]
    result = studied([network(1.5, 0, loss=1e-8, **given) for given in ({}, *others)])
    assert result.tables["summary"]["relative_floor"].drop_nulls().len() == 1
    assert verdict(result, FLOOR).sentence.startswith("BEATEN by 5 of ")  # at any weights that of their λ_max holds


def test_floor_that_cannot_be_afforded_is_not_claimed(studied, both):
    result = studied(both(0.9, n=257, seeds=1, rates=(1.5,)))
    assert verdict(result, FLOOR).level == "undecided"
    assert result.notes[0].startswith("Floors were computed for 0 of 1 data sets")
    assert result.tables["floors"].is_empty()


def test_without_large_step_sizes_there_is_no_floor_and_none_is_counted(studied, both):
    result = studied(both(9.0, rates=(0.1, 0.3)))
    assert result.notes[0].startswith("Floors were computed for 0 of 1 data sets (none), which 0 of 8 shallow runs")
    assert "a floor was computed for 0 runs" in verdict(result, FLOOR).sentence


def test_drawn_floor_is_the_least_of_the_data_sets_and_none_where_one_has_none(studied, both, network):
    many = [*both(0.9, rates=(1.5,), data_seed=0), *both(0.9, rates=(1.5,), data_seed=1)]
    result = studied(many)
    shares = result.tables["floors"].select(pl.col("floor_rmse").pow(2) / pl.col("constant_rmse").pow(2)).to_series()
    summary = result.tables["summary"].filter(arm="shallow")
    assert shares.n_unique() == 2
    assert summary["relative_floor"].item() == pytest.approx(shares.min())
    lacking = studied([*many, *both(0.9, rates=(1.5,), n=20, data_seed=2, optimizer="momentum", momentum=0.1)])
    momentum = lacking.tables["summary"].filter(pl.col("label").str.contains("momentum"), arm="shallow")
    assert momentum["relative_floor"].to_list() == [None]


def test_data_with_equal_labels_have_nothing_to_fit_and_a_report(studied, both):
    given = {"domain": "cube", "d": 7, "n": 20, "radius": 1.0}  # no sample lies in the pyramid
    result = studied(both(0.9, **given))
    assert result.tables["constants"]["constant_loss"].to_list() == [None]
    assert result.tables["summary"]["fits"].max() == 0
    for figure in result.figures.values():
        assert save(figure, "png")


@pytest.mark.parametrize(("loss", "level"), [(1e-30, "confirmed"), (1e-3, "refuted")])
def test_witness_must_stay_below_its_largest_step(studied, both, network, loss, level):
    points = dataset(Run.model_validate({"problem": "pyramid", "n": 20, "lr": 1.0}).model_dump()).x
    largest = Witness(points).scaled().lr
    start = {"init": "witness", "width2": 4, "warmup_steps": 0, "tolerance": 0.0}
    inside, outside = network(0.9 * largest, 0, loss=loss, **start), network(1.1 * largest, 0, loss=0.01, **start)
    result = studied([*both(0.9), inside, outside])
    found = verdict(result, "stay at the deep witness")
    assert (found.level, found.about) == (level, "theorem")
    assert "Beyond 2/λ it was left in 1 of 1 run." in found.sentence
    assert result.tables["witness"]["expected"].to_list() == [True, False]
    assert len(result.tables["settings"]) == 1  # the witness is no arm


def test_witness_is_expected_to_stay_by_gradient_descent_on_its_own_labels_only(studied, both, network):
    start = {"init": "witness", "width2": 4, "warmup_steps": 0, "tolerance": 0.0, "loss": 1e-3}
    others = [{"optimizer": "sgd"}, {"noise": 1e-3}, {"weight_decay": 1e-3}]
    result = studied([*both(0.9, rates=(0.9,), seeds=1), *(network(0.3, 0, **start, **given) for given in others)])
    assert verdict(result, "stay at the deep witness").level == "undecided"
    assert result.tables["witness"]["stays"].to_list() == [False] * 3


def test_witness_is_scaled_for_each_law_of_the_inputs(studied, network):
    laws = [{"domain": "ball", "radius": 1.5}, {"domain": "cube"}, {}]
    result = studied([network(0.1, 0, 16, **law) for law in laws])
    assert result.tables["scalings"]["domain"].to_list() == ["ball", "cube", "l1_ball"]
    assert result.tables["scalings"]["sharpness"].n_unique() == 3


def test_report_says_what_norm_an_error_needs_and_how_flat_the_witness_can_be(studied, both):
    result = studied(both(0.9))
    needed = result.tables["needed"]
    assert needed["norm"].to_list() == [norm for norm in ("S", "S̃", "S_G") for _ in range(3)]
    assert (needed["lower"] <= needed["upper"] + 1e-9).all()
    least = {norm: part["lower"].to_numpy() for (norm,), part in needed.group_by("norm")}
    assert (least["S"] <= least["S̃"] + 1e-9).all()
    assert (np.diff(least["S̃"]) > 0).all()  # errors fall
    bound = needed.filter(norm="S̃", error=0.1).row(0, named=True)
    points = dataset(Run.model_validate({"problem": "pyramid", "n": 20, "lr": 1.0}).model_dump()).x
    slack = np.sqrt(1 + (points**2).sum(1).max()) / 2
    assert 1 / bound["largest_lr"] == pytest.approx(max(0.5, bound["lower"] + 0.5 - slack * 0.1))
    witness = result.tables["scalings"].row(0, named=True)
    assert witness["sharpness"] == pytest.approx(Witness(points).scaled().sharpness)
    assert witness["flattest_sharpness"] < witness["sharpness"]


def test_report_says_which_sup_error_a_step_size_leaves_in_all_three_norms_and_the_gap(studied, both, capfd):
    floors = studied(both(0.9)).tables["sup_floors"]
    assert capfd.readouterr().err == ""  # the bar is for terminals
    assert floors["norm"].to_list() == [norm for norm in ("S", "S̃", "S_G") for _ in (0.9, 1.5)]
    plain, oriented, sufficient = (floors.filter(norm=norm) for norm in ("S", "S̃", "S_G"))
    assert (plain["floor_sup"] <= oriented["floor_sup"] + 1e-9).all()
    assert (oriented["floor_sup"] <= sufficient["floor_sup"] + 1e-9).all()
    assert (plain["gap"].abs() < 1e-8).all()
    assert (sufficient["gap"] >= -1e-9).all()
    assert (sufficient["gap"] == sufficient["reached_sup"] - sufficient["floor_sup"]).all()
    assert sufficient["stable_sup"].to_list() == [None, None]
    data = dataset(Run.model_validate({"problem": "pyramid", "n": 20, "lr": 1.0}).model_dump())
    row = oriented.filter(lr=1.5).row(0, named=True)
    mine = Floors(data.x, data.y, "oriented_stability")
    assert row["floor_sup"] == pytest.approx(mine.least_error(budget(1.5)).lower, abs=1e-9)
    assert 0 < row["stable_sup"] < row["floor_sup"]
    assert row["stable_sup"] == pytest.approx(mine.least_error(budget(1.5), residual_slack(data.x)).lower, abs=1e-9)


def test_data_whose_solver_gives_up_have_no_floor_and_are_named(studied, both, monkeypatch):
    def gives_up(*_):
        raise RuntimeError("numerical difficulties")

    monkeypatch.setattr("analysis.floor.least_rms", gives_up)
    monkeypatch.setattr("analysis.floor.least_sup", gives_up)
    result = studied(both(0.9))
    assert [len(result.tables[name]) for name in ("floors", "sup_floors", "needed")] == [0, 0, 0]
    assert "Floors were computed for 0 of 1 data sets (none), which 0 of 16 shallow runs share" in result.notes[0]
    for note, what in zip(result.notes[1:3], ("root mean square error", "sup-error"), strict=True):
        assert re.match(
            rf"No floor of the {what} of problem pyramid, d 2, n 20, data_seed 0: the solver gave up over \d+ units "
            r"\(numerical difficulties\)",
            note,
        )
    assert verdict(result, CLAIM).level == "confirmed"  # what needs no floor is said all the same


# Controls ------------------------------------------------------------------------------------------------------------


def outcomes(result):
    return dict(result.tables["controls"].select("control", "outcome").rows())


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


def test_widest_shallow_networks_are_counted_by_themselves(studied, both, network):
    wide = [network(lr, seed, width=64, loss=1e-5) for lr in RATES for seed in range(4)]  # fit at every step size
    result = studied([*both(0.9), *wide])
    assert outcomes(result) == {"claim": "as expected", "widest networks": "refuted"}
    said = verdict(result, "Control, widest networks").sentence
    assert said.startswith("NOT AS EXPECTED: the shallow network fails in 0 of 8 pairs")
    table = result.tables["widest"]
    assert table["lr"].to_list() == [*RATES]
    assert table.select("shape", "pairs", "fits", "deep_fits", "separated").rows() == [("shallow 64", 4, 4, 4, 0)] * 4
    more = [*both(0.9, n=10), *(network(lr, seed, width=64, n=10, loss=0.01) for lr in RATES for seed in range(4))]
    said = verdict(studied([*both(0.9), *wide, *more], name="more"), "Control, widest networks").sentence
    assert said.endswith(" n = 10: 8 of 8, n = 20: 0 of 8.")


def test_small_steps_that_have_not_gone_as_far_are_no_control(studied, both):
    """At η = 0.1 it takes 160,000 steps to get as far as 20,000 do at η = 0.8; before, a failure may be no end."""
    short, far = (both(0.01, rates=(0.1,), max_steps=steps) for steps in (159_000, 160_000))
    result = studied([*both(0.9), *short, *far])
    assert outcomes(result)["vanishing step sizes"] == "refuted"
    assert "fails in 4 of 4 pairs" in verdict(result, "vanishing step sizes").sentence
    assert any(note.startswith("16 runs at η ≤ 0.1 have too few steps") for note in result.notes)


def test_runs_that_depart_in_two_things_are_no_control(studied, both):
    two = [{"optimizer": "sgd", "init": "kaiming"}, {"init": "xavier", "warmup_steps": 0}, {"optimizer": "momentum"}]
    rows = [*both(0.9), *(run for given in two for run in both(9.0, seeds=1, **given))]
    assert set(outcomes(studied(rows))) == {"claim"}


def test_smooth_target_that_separates_refutes_the_claim(studied, both):
    result = studied([*both(0.9), *both(0.9, problem="bump", domain="l1_ball", bandwidth=2.0)])
    assert outcomes(result)["smooth target"] == "refuted"
    assert "bandwidth 2" in verdict(result, "smooth target").question


def test_claim_is_about_relu_networks_with_biases_on_noiseless_labels_in_two_dimensions_or_more(studied, both):
    departures = [
        {"activation": "leaky_relu", "negative_slope": 0.1}, {"bias": False}, {"noise": 0.1}, {"weight_decay": 0.01},
        {"domain": "ball"}, {"d": 1}, {"lr_ratio": 0.5},
    ]  # fmt: skip
    alone = studied(both(0.9, seeds=8)).tables["controls"]
    rows = [*both(0.9, seeds=8), *(row for given in departures for row in both(0.9, rates=(0.9,), seeds=1, **given))]
    assert studied(rows).tables["controls"].equals(alone)


def test_only_smooth_targets_are_called_so(studied, both):
    sine, teacher = ({"problem": name, "domain": "l1_ball"} for name in ("sine", "teacher"))
    result = studied([*both(0.9), *both(9.0, seeds=2, **sine), *both(9.0, seeds=2, **teacher)])
    assert result.tables["controls"].filter(control="smooth target")["problem"].to_list() == ["sine"]


def test_pair_that_fits_where_it_is_forbidden_is_counted_and_told(studied, both):
    result = studied(both(9.0, rates=(0.4, 1.5)))  # shallow fits everywhere
    row = result.tables["controls"].filter(control="claim").row(0, named=True)
    assert (row["forbidden"], row["forbidden_fits"]) == (0, 4)
    assert "In 4 pairs it fits all the same where none does at such a minimum." in verdict(result, CLAIM).sentence


def test_bisection_of_the_shipped_spec_asks_what_the_study_asks():
    refine = Spec.read("depth_separation_critical").refine
    assert (refine.parameter, refine.column, refine.threshold) == ("lr", "unexplained_fraction", FITS)


def test_intervals_of_rates_are_over_data_seeds_where_there_are_enough(studied, network):
    def rates(data_seeds):
        runs = [
            network(0.1, seed, loss=1e-3 * n**-1.0 * (1 + 0.2 * data_seed + 0.01 * seed), n=n, data_seed=data_seed)
            for n in (10, 20, 40) for seed in range(4) for data_seed in range(data_seeds)
        ]  # fmt: skip
        return studied(runs).tables["rates"].filter(measure="tail_loss").row(0, named=True)

    assert [rates(count)["clusters"] for count in (1, 2, 3)] == [4, 8, 3]
    assert (rates(2)["seeds"], rates(2)["data_seeds"]) == (4, 2)
    assert rates(3)["slope"] == pytest.approx(-1)


def test_losses_are_drawn_against_size_dimension_and_width(studied, both, network):
    more = [network(0.9, seed, n=n, d=d, width=w) for n in (10, 20) for d in (2, 3) for w in (8, 32) for seed in (0, 1)]
    deep = [network(0.9, seed, 16, n=n, d=d) for n in (10, 20) for d in (2, 3) for seed in (0, 1)]
    figure = studied([*more, *deep]).figures["scaling"]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["32 shallow units, by dimension", "32 shallow units, by sample size", "n = 20, by dimension"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [1 + 4, 1 + 4, 1 + 4]
    assert "scaling" not in studied(both(0.9)).figures


def test_as_many_parameters_means_within_a_tenth(studied, both, network):
    matched = [network(lr, seed, loss=0.5 * CONSTANT, width=84) for lr in RATES for seed in range(4)]  # 337, as 16-16
    result = studied([*both(0.9), *matched])
    assert outcomes(result)["equal parameters"] == "as expected"
    controls = result.tables["controls"].filter(control="equal parameters").row(0, named=True)
    assert (controls["pairs"], controls["separated"]) == (8, 8)


def test_separation_that_the_floor_proves_is_told_apart(studied, both):
    result = studied(both(0.4))
    controls = result.tables["controls"].filter(control="claim").row(0, named=True)
    assert 0 < controls["forbidden"] < controls["separated"]
    said = verdict(result, CLAIM).sentence
    assert f"; in {controls['forbidden']} of these, by certificate, no shallow network fits at a twice " in said


# Rates, order, and the real thing ------------------------------------------------------------------------------------


def test_planted_exponent_in_the_sample_size_is_recovered(studied, network):
    rows = [network(0.9, s, 16, loss=(1 + 0.1 * s) * 0.1 / n, n=n) for n in (131, 200, 300) for s in range(4)]
    fit = studied(rows).tables["rates"].filter(against="n", measure="tail_loss").row(0, named=True)
    assert fit["slope"] == pytest.approx(-1)
    assert (fit["n"], fit["clusters"]) == (12, 4)


def test_order_of_the_runs_leaves_no_trace(studied, both):
    rows = [*both([0.9, 0.4, 0.9, 1.5]), *both(0.9, optimizer="sgd")]
    one, other = studied(rows, name="one"), studied(rows[::-1], name="other")
    assert one.verdicts == other.verdicts
    assert all(one.tables[key].equals(other.tables[key]) for key in one.tables)


def test_everything_shown_has_a_title_and_a_caption(studied, both):
    result = studied(both(0.9))
    assert {*result.tables, *result.figures} <= set(result.shown)
    against_step = {"separation", "test", "sup", "curvature", "norms", "plain_norms", "variation", "active"}
    assert against_step | {"critical"} == set(result.figures)


def test_saved_weights_become_pictures_of_the_function_that_was_trained(tmp_path):
    common = {"problem": "pyramid", "n": 20, "n_test": 8, "max_steps": 40, "tolerance": 0.0}
    runs = [
        Run.model_validate(common | shape | {"lr": lr})
        for shape in ({"width": 8}, {"depth": 2, "width": 4, "width2": 4})
        for lr in (0.3, 0.6)
    ]
    measure = Measure(every="tail:4", save_weights=True)
    store = Store.create(tmp_path / "store")
    tables = [execute(Pack(tuple(runs[i : i + 2])), measure, torch.device("cpu"), "test") for i in (0, 2)]
    for index, found in enumerate(tables):
        store.write(f"pack{index}", found, {})
    result = study(load([store.path]))
    assert "functions" in result.figures
    assert (result.tables["summary"]["tail_moments"] == 4).all()
    for rows, records in (
        (found["weights"].to_pylist(), pl.DataFrame(pl.from_arrow(found["runs"]))) for found in tables
    ):
        for saved in rows:
            run = records.filter(run_id=saved["run_id"]).row(0, named=True)
            data = dataset(run)
            error = np.sqrt(((output(saved, data.x) - data.y) ** 2).mean())
            assert error == pytest.approx(run["train_rmse"], rel=1e-9)
