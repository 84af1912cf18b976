import polars as pl
import pytest

from relusweep.analysis.table import TableError, extra_columns, load
from relusweep.sweep.store.store import Store, StoreError


def test_table_of_several_stores_equals_that_of_their_union(store, sweep):
    split = load([store(sweep[:20], "a"), store(sweep[12:], "b")])  # 8 runs are in both
    whole = load([store(sweep, "c")])
    assert split.runs.drop("store").equals(whole.runs.drop("store"))
    assert [source.rows for source in split.sources] == [20, 20]


def test_table_keeps_of_a_run_in_two_stores_the_one_of_the_first(store, row):
    first, second = store([row(test_rmse=1.0)], "a"), store([row(test_rmse=2.0)], "b")
    assert load([first, second]).runs["test_rmse"].to_list() == [1.0]
    assert load([second, first]).runs["test_rmse"].to_list() == [2.0]


def test_table_keeps_undefined_as_null(store, row):
    runs = load([store([row(status="diverged")])]).runs
    assert runs["sharpness"].to_list() == [None]
    assert runs["width2"].to_list() == [None]


def test_table_names_broken_parts_and_reads_the_others(store, sweep):
    path = store(sweep)
    (path / "runs" / "pack-broken.parquet").write_bytes(b"PAR1 half of a part")
    table = load([path])
    assert len(table.runs) == len(sweep)
    (part, reason), = table.sources[0].broken  # fmt: skip
    assert part.endswith("pack-broken.parquet")
    assert reason


def test_table_has_trajectories_sorted_by_run_and_step(store, row):
    one = row()
    moments = [{"run_id": one["run_id"], "step": step, "sharpness": float(step)} for step in (100, 1, 10)]
    trajectories = load([store([one], trajectories=moments)]).trajectories
    assert trajectories["step"].to_list() == [1, 10, 100]
    assert trajectories.schema["sharpness"] == pl.Float64


def test_only_the_measures_that_are_wanted_are_read_of_trajectories(store, row):
    one, other = row(0.1), row(0.2)
    moments = [
        {"run_id": run["run_id"], "step": step, "loss": step / 7, "sharpness": 2.0}
        for run in (one, other)
        for step in (1, 10)
    ]
    whole, some = (
        load([store([one, other], trajectories=moments)], wanted).trajectories for wanted in (None, ("loss",))
    )
    assert some.columns == ["run_id", "step", "loss", "store"]
    assert some.equals(whole.select(some.columns))
    assert load([store([one], name="none")], ("loss",)).trajectories.schema == some.schema


def test_runs_that_went_on_are_one_training_unless_their_step_size_falls(store, row):
    rows = [row(max_steps=steps, schedule=kind) for steps in (1000, 2000) for kind in ("constant", "linear", "cosine")]
    table = load([store(rows)])
    assert table.repeated == 1
    found = sorted(table.runs.select("schedule", "max_steps").rows())
    assert found == [("constant", 2000), *((kind, steps) for kind in ("cosine", "linear") for steps in (1000, 2000))]


def test_table_of_an_empty_store_says_what_to_do(tmp_path):
    path = Store.create(tmp_path / "empty").path
    with pytest.raises(TableError, match=r"empty: nothing to report, got 0 recorded runs; .* `relusweep run` first\.$"):
        load([path])


def test_table_of_broken_parts_alone_points_to_verify(tmp_path):
    path = Store.create(tmp_path / "broken").path
    (path / "runs" / "pack-x.parquet").write_bytes(b"")
    with pytest.raises(TableError, match=r"got 0 recorded runs and 1 broken part; .* `relusweep verify`"):
        load([path])


def test_table_of_no_store_is_an_error():
    with pytest.raises(TableError, match="no store given: nothing to report"):
        load([])


def test_table_of_a_directory_that_is_no_store_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="not a relusweep store"):
        load([tmp_path])


def test_extra_measures_are_columns_that_are_null_where_they_were_not_asked_for(store, row):
    several = [row(0.1), row(0.2) | {"trace": 1.5, "spectrum": [3.0, None]}, row(0.3) | {"trace": None}]
    runs = load([store(several[:1], "a"), store(several[1:], "b")]).runs.sort("lr")
    assert runs["trace"].to_list() == [None, 1.5, None]
    assert runs["spectrum"].to_list() == [None, [3.0, None], None]
    assert runs.schema["trace"] == pl.Float64
    assert runs.schema["spectrum"] == pl.List(pl.Float64)
    assert extra_columns(runs) == ["spectrum", "trace"]
    assert extra_columns(load([store(several[:1], "a")]).runs) == []
