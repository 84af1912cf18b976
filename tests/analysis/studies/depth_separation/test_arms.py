"""Arms of the depth study: what runs have reached, and the constant that they are measured by."""

import pytest

from relusweep.analysis.plotting import save
from tests.analysis.studies.conftest import verdict
from tests.analysis.studies.depth_separation.conftest import CLAIM, CONSTANT


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


@pytest.mark.slow
def test_data_with_equal_labels_have_nothing_to_fit_and_a_report(studied, both):
    given = {"domain": "cube", "d": 7, "n": 20, "radius": 1.0}  # no sample lies in the pyramid
    result = studied(both(0.9, **given))
    assert result.tables["constants"]["constant_loss"].to_list() == [None]
    assert result.tables["summary"]["fits"].max() == 0
    for figure in result.figures.values():
        assert save(figure, "png")


def test_labels_that_differ_by_little_have_a_best_constant_all_the_same(studied, both):
    constants = studied(both(0.9, problem="noise", noise=1e-9)).tables["constants"].row(0, named=True)
    assert 0 < constants["constant_loss"] < 1e-17
    assert constants["constant_test"] is None  # the test labels are all 0
