"""`relusweep report`"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from relusweep.analysis.table import load
from relusweep.sweep.store.store import Store
from tests.conftest import Said


def test_report_of_nothing_or_of_no_study_is_refused(refused: Callable[..., str], store: Path, tmp_path: Path) -> None:
    Store.create(tmp_path / "new")
    assert "new: nothing to report, got 0 recorded runs" in refused("report", "new")
    assert "study = 'stabilty': unknown study" in refused("report", store, "--study", "stabilty")


@pytest.mark.slow
def test_report_is_about_the_runs_of_the_present_spec_and_no_training_counts_twice(
    cli: Callable[..., Said], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    """As after max_steps was raised, and after the grid was made smaller."""
    store, manifest = tmp_path / "store", tmp_path / "store" / "report" / "report.json"

    def report(*options: object) -> tuple[int, list[str]]:
        written = cli("report", store, *options)
        assert written.code == 0, written.err
        return len(load([store], every_run="--all" in options).runs), json.loads(manifest.read_text())["notes"]

    assert cli("run", tiny(grid="lr = [0.05, 0.1], seed = [0, 1]"), "--out", store).code == 0
    count, notes = report()
    assert (count, [note for note in notes if "Left out are" in note]) == (4, [])
    assert cli("run", tiny(grid="lr = [0.05, 0.1], seed = [0, 1]", max_steps=800), "--out", store).code == 0
    count, notes = report()
    assert count == 4
    assert f"Left out are runs that the present spec does not name: {store} (4). --all takes them." in notes
    assert load([store]).runs["max_steps"].unique().to_list() == [800]
    count, notes = report("--all")
    assert count == 4
    assert "Left out are 4 runs of which others went on: the same trainings, with another end." in notes
    assert load([store], every_run=True).runs["max_steps"].unique().to_list() == [800]
    assert cli("run", tiny(grid="lr = [0.05], seed = [1]", max_steps=800), "--out", store).code == 0
    assert report()[0] == 1
    assert report("--all")[0] == 4


@pytest.mark.slow
def test_report_counts_runs_that_refine_has_asked_for(
    cli: Callable[..., Said], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    refine = "parameter = 'lr'\ncolumn = 'loss'\nthreshold = 1e9\nratio = 1.5"
    spec, store = tiny(grid="lr = [0.01, 30.0], seed = [0]", refine=refine), tmp_path / "store"
    assert cli("run", spec, "--out", store).code == 0
    recorded = len(Store(store).recorded())
    assert recorded > 2
    assert len(load([store]).runs) == recorded


@pytest.mark.slow
def test_report_of_runs_of_earlier_specs_alone_is_refused_with_the_option_that_takes_them(
    cli: Callable[..., Said], refused: Callable[..., str], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    assert cli("run", tiny(), "--out", store).code == 0
    Store(store).write_spec(tiny("other", width=3).read_text())
    assert "4 runs of earlier specs are recorded; --all takes them" in refused("report", store)
    assert cli("report", store, "--all").code == 0


@pytest.mark.slow
def test_report_is_not_written_through_a_link_of_the_store(
    refused: Callable[..., str], store: Path, tmp_path: Path
) -> None:
    """Who made the store would choose where: its index.html might take the place of one of ours."""
    (tmp_path / "site").mkdir()
    (store / "report").symlink_to(tmp_path / "site")
    assert "report: a link, which leads out of the store; expected a folder" in refused("report", store)
