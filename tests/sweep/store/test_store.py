"""Store: what is written is read, once each; what is no store is refused."""

import errno
import json
import os

import pyarrow.parquet as pq
import pytest

from relusweep.sweep.record import SCHEMA_VERSION, SCHEMAS
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.store import Store
from tests.sweep.store.conftest import rows


def test_what_is_written_is_read(store):
    table, broken = store.read()
    assert table.schema.names == SCHEMAS["runs"].names
    assert sorted(table["seed"].to_pylist()) == [0, 1, 2, 3, 4]
    assert not broken
    assert store.recorded() == set(table["run_id"].to_pylist())
    assert table["sharpness"].null_count == 5  # undefined is null


def test_footer_tells_the_provenance(store):
    metadata = pq.read_schema(store.parts()[0]).metadata
    for key in ("code_version", "host", "packages", "random_numbers", "schema_version", "device"):
        assert metadata[f"relusweep.{key}".encode()]


def test_directories_are_the_owners_alone(store):
    assert all((path.stat().st_mode & 0o077) == 0 for path in [store.path, *store.path.iterdir()] if path.is_dir())


def test_pack_written_twice_is_there_once(store):
    store.write("a", {"runs": rows(0, 1, 2)}, {})
    assert len(store.read()[0]) == 5


def test_run_recorded_by_two_packs_is_read_once(store):
    store.write("c", {"runs": rows(2, 3)}, {})
    assert sorted(store.read()[0]["seed"].to_pylist()) == [0, 1, 2, 3, 4]


def test_runs_are_written_after_the_other_tables(store, monkeypatch):
    order = []
    monkeypatch.setattr("relusweep.sweep.store.store.write_part", lambda path, *_: order.append(path.parent.name))
    store.write(
        "d",
        {"runs": rows(9), "weights": [{"run_id": "x", "w1": [1.0]}], "trajectories": [{"run_id": "x", "step": 1}]},
        {},
    )
    assert order[-1] == "runs"
    assert len(order) == 3


def test_parameter_that_a_row_lacks_is_recorded_with_its_default(store):
    (row,) = rows(9)
    del row["tolerance"], row["radius"]  # as of a run that had ended before a checkpoint of an earlier version
    store.write("c", {"runs": [row]}, {})
    (part,) = store.parts()[-1:]
    assert pq.read_table(part).select(["tolerance", "radius"]).to_pylist() == [{"tolerance": 1e-8, "radius": None}]


def test_store_is_refused_for_what_it_is_not(tmp_path):
    with pytest.raises(StoreError, match="no such directory; expected a store"):
        Store.open(tmp_path / "none")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="not a relusweep store"):
        Store.open(tmp_path / "notes")
    with pytest.raises(StoreError, match="other files in it, no relusweep store; .* Choose another --out"):
        Store.create(tmp_path / "notes")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["thesis.tex"]
    with pytest.raises(StoreError, match="a file stands where a directory is needed"):
        Store.create(tmp_path / "notes" / "thesis.tex" / "sub")


def test_store_of_another_schema_is_refused(store):
    (store.path / "store.json").write_text(json.dumps({"relusweep_schema_version": 99}))
    with pytest.raises(StoreError, match=f"schema 99, this version reads up to {SCHEMA_VERSION}"):
        Store.open(store.path)


def test_store_of_an_earlier_schema_is_read_and_becomes_one_of_this_when_it_is_written_to(store):
    marker, part = store.path / "store.json", store.parts()[0]
    marker.write_text(json.dumps({"relusweep_schema_version": 1}))
    older = pq.read_table(part).drop_columns(["unexplained_fraction"])
    pq.write_table(older.replace_schema_metadata({"relusweep.schema_version": "1"}), part)
    table, broken = Store.open(store.path).read()
    assert not broken
    assert table["unexplained_fraction"].null_count == len(table) > 0
    assert json.loads(marker.read_text()) == {"relusweep_schema_version": 1}  # a reader changes nothing
    Store.create(store.path).write("c", {"runs": rows(7)}, {})
    assert json.loads(marker.read_text()) == {"relusweep_schema_version": SCHEMA_VERSION}
    assert not store.read()[1]
    compact(store)
    assert len(store.read()[0]) == len(table) + 1


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", "3", '{"relusweep_schema_version": 1e400}', '{"relusweep_schema_version": "x"}', "[" * 10**5]
)  # fmt: skip
def test_store_that_has_lost_its_mark_is_given_it_anew_by_run_and_named_by_others(store, content):
    mark = store.path / "store.json"
    before = mark.read_bytes()
    if content is None:
        mark.unlink()
    else:
        mark.write_text(content)
    with pytest.raises(
        StoreError, match=r"no readable store\.json.*Run its spec again with this --out, which writes it"
    ):
        Store.open(store.path)
    again = Store.create(store.path)
    assert mark.read_bytes() == before
    assert len(again.recorded()) == 5
    (store.path / "failures").rmdir()
    mark.write_text("{")
    with pytest.raises(StoreError, match=r"no readable store\.json\); expected the --out of `relusweep run`\.$"):
        Store.create(store.path)


def test_mark_that_cannot_be_read_just_now_is_not_written_anew(store, monkeypatch):
    def refuse(path):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr("relusweep.sweep.store.store.content_of", refuse)
    for use in (Store.open, Store.create):
        with pytest.raises(StoreError, match=r"store\.json: Stale file handle\. Correct it, then run the same"):
            use(store.path)


@pytest.mark.parametrize("folder", ["runs", "checkpoints", "progress", "claims", "jobs", "aside"])
def test_store_whose_folder_is_a_link_is_refused(store, tmp_path, folder):
    """What a store no longer needs is deleted: by a link, files of its user would be."""
    if (store.path / folder).exists():
        (store.path / folder).rename(store.path / "moved")
    (tmp_path / "mine").mkdir()
    (store.path / folder).symlink_to(tmp_path / "mine")
    for use in (Store.open, Store.create):
        with pytest.raises(StoreError, match=f"{folder}: a link; expected a folder"):
            use(store.path)


def test_spec_that_is_a_pipe_keeps_no_one_waiting(store):
    os.mkfifo(store.path / "spec.toml")
    with pytest.raises(StoreError, match=r"spec\.toml: no file; expected the spec"):
        Store.open(store.path)
    assert store.sweep_name() is None


def test_name_that_parquet_s_library_cannot_open_is_refused(tmp_path):
    """Every part would seem to be broken, and be trained again."""
    path = tmp_path / os.fsdecode(b"\xff")
    for use in (Store.open, Store.create):
        with pytest.raises(StoreError, match="a name that is not UTF-8"):
            use(path)
    assert not path.exists()
