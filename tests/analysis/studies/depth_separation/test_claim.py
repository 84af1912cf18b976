"""The claim of the depth study on planted runs: what is separated, and from which step size on; and on real ones."""

import numpy as np
import polars as pl
import pytest
import torch

from relusweep.analysis.studies.depth_separation.figures import output
from relusweep.analysis.studies.depth_separation.study import study
from relusweep.analysis.table import load
from relusweep.sweep.data import dataset
from relusweep.sweep.execute import execute
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.store import Store
from tests.analysis.studies.depth_separation.conftest import CLAIM, CONSTANT, RATES, verdict


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
