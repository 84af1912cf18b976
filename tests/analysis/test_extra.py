"""Extra measures of the converged runs are summed up."""

import polars as pl
import pytest

from relusweep.analysis.extra import extra_table
from relusweep.analysis.report import write
from relusweep.analysis.table import load


def test_numbers_of_converged_runs_are_summed_up(store, row):
    rows = [row(0.1 + k / 100) | {"trace": float(k), "spectrum": [1.0]} for k in range(5)]
    rows += [row(0.3) | {"trace": None}, row(0.4, status="diverged") | {"trace": 99.0}]
    table = extra_table(load([store(rows)]).runs)
    assert table is not None
    (found,) = table.to_dicts()
    expected = {"least": 0.0, "10 %": 0.4, "median": 2.0, "90 %": 3.6, "largest": 4.0}
    assert found == {"measure": "trace", "runs": 5} | {name: pytest.approx(each) for name, each in expected.items()}


def test_there_is_no_table_without_such_measures(store, row):
    assert extra_table(load([store([row()])]).runs) is None


def test_reports_show_them_and_lists_are_text_in_csv_files(store, sweep, tmp_path):
    path = store([each | {"trace": 2.5, "spectrum": [3.0, 1.0]} for each in sweep])
    page = write([path], "stability", tmp_path / "page")
    assert "Extra measures" in page.read_text()
    assert pl.read_csv(tmp_path / "page" / "extra_measures.csv")["median"].to_list() == [2.5]
