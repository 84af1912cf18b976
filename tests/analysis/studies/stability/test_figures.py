"""Figures of the stability study: what is drawn, and of what."""

import pytest

from relusweep.analysis.bounds import BOUNDS, judge
from relusweep.analysis.group import group
from relusweep.analysis.plotting import save
from relusweep.analysis.studies.stability.study import STUDY
from relusweep.analysis.table import load


def drawn(store, rows, **given):
    return STUDY(load([store(rows, **given)])).figures


def moments(rows):
    return [
        {"run_id": row["run_id"], "step": step, "sharpness": row["sharpness"]} for row in rows for step in (1, 10, 100)
    ]


def test_figures_are_drawn_for_what_is_there(store, row, sweep):
    assert list(drawn(store, sweep, trajectories=moments(sweep))) == ["stability", "norms", "edge", "errors", "paths"]
    assert list(drawn(store, [row(status="diverged")], name="none")) == ["stability"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"depth": 2, "stability_norm": None, "oriented_stability_norm": None, "mean_gradient_bound": None},
        {"test_rmse": None},
        {"stability_norm": 0.0, "oriented_stability_norm": 0.0},
        {"optimizer": "momentum"},
        {"bias": False},
    ],
)
def test_figures_of_a_single_run_are_drawn_without_a_warning(store, row, change):
    for figure in drawn(store, [row(**change)]).values():
        assert save(figure, "svg").startswith(b"<?xml")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["svg", "png"])
def test_figures_of_equal_runs_are_equal_bytes(store, sweep, form):
    first, second = drawn(store, sweep, name="a"), drawn(store, sweep[::-1], name="b")
    assert {k: save(f, form) for k, f in first.items()} == {k: save(f, form) for k, f in second.items()}


@pytest.mark.slow
def test_figures_name_no_font_and_no_date(store, sweep):
    for figure in drawn(store, sweep).values():
        text = save(figure, "svg").decode()
        assert "<text" not in text
        assert "dc:date" not in text


def test_main_figure_has_two_axes_a_group_and_at_most_eight_groups(store, row):
    rows = [row(lr, seed, width=w) for w in range(2, 12) for lr in (0.1, 0.2) for seed in range(2)]
    assert len(drawn(store, rows)["stability"].axes) == 16


def test_main_figure_draws_medians_against_the_step_size(store, row):
    rows = [row(lr, seed, eos=0.1 * (1 + seed)) for lr in (0.1, 0.2) for seed in range(3)]
    lines = {line.get_label(): line for line in drawn(store, rows)["stability"].axes[0].get_lines()}
    assert lines["$2/\\eta$"].get_xydata().tolist() == [[0.1, 20], [0.2, 10]]
    assert lines["$\\lambda_{\\max}$"].get_ydata().tolist() == pytest.approx([4, 2])


@pytest.mark.slow
def test_norm_figure_marks_violations(store, row, sweep):
    labels = {line.get_label() for line in drawn(store, sweep, name="good")["norms"].axes[0].get_lines()}
    assert "violates the bound" not in labels
    bad = drawn(store, [*sweep, row(0.1, 9, eos=1.5)], name="bad")["norms"]
    beyond = [line for line in bad.axes[0].get_lines() if line.get_label() == "violates the bound"]
    judged = judge(group(load([store([row(0.1, 9, eos=1.5)], name="one")]).runs).runs, BOUNDS["stability_norm"])
    assert judged["outcome"].to_list() == ["holds"]  # S is within; S̃ is not drawn beyond either: 60 % of 1.5 is 0.9
    assert not beyond
    worse = drawn(store, [*sweep, row(0.1, 9, eos=1.9)], name="worse")["norms"]
    assert "violates the bound" in {line.get_label() for line in worse.axes[0].get_lines()}
