"""Store: parts written whole or not at all, read once each, repaired and merged."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relusweep.sweep.record import SCHEMA_VERSION, SCHEMAS
from relusweep.sweep.run import Run
from relusweep.sweep.store.atomic import StoreError, replacing
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.repair import set_aside
from relusweep.sweep.store.store import Store


def rows(*seeds, **columns):
    runs = [Run.model_validate({"problem": "sine", "lr": 0.1, "seed": seed}) for seed in seeds]
    return [run.model_dump() | {"run_id": run.id, "status": "budget", "loss": 0.5} | columns for run in runs]


@pytest.fixture
def store(tmp_path):
    made = Store.create(tmp_path / "store")
    made.write("a", {"runs": rows(0, 1, 2)}, {"device": "cpu"})
    made.write("b", {"runs": rows(3, 4)}, {})
    return made


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
    monkeypatch.setattr("relusweep.sweep.store.store.write_part", lambda path, content: order.append(path.parent.name))
    store.write(
        "d",
        {"runs": rows(9), "weights": [{"run_id": "x", "w1": [1.0]}], "trajectories": [{"run_id": "x", "step": 1}]},
        {},
    )
    assert order[-1] == "runs"
    assert len(order) == 3


def test_killed_write_leaves_no_part(store):
    class Killed(Exception):
        pass

    target = store.path / "runs" / "pack-z.parquet"
    with pytest.raises(Killed), replacing(target) as temporary:
        temporary.write_bytes(b"half")
        raise Killed
    assert not target.exists()
    assert not list(target.parent.glob(".*"))
    (target.parent / ".pack-q.parquet.0123.tmp").write_bytes(b"left by kill -9")
    assert len(store.parts()) == 2


@pytest.mark.parametrize("damage", ["truncate", "empty", "garbage", "flip", "foreign"])
def test_broken_part_is_named_and_its_runs_count_as_missing(store, damage):
    part = store.parts()[0]
    content = part.read_bytes()
    if damage == "foreign":
        pq.write_table(pa.table({"x": [1]}), part)
    else:
        middle = len(content) // 3
        part.write_bytes(
            {"truncate": content[: len(content) // 2], "empty": b"", "garbage": b"x" * 500,
             "flip": content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]}[damage]
        )  # fmt: skip
    table, broken = store.read()
    assert list(broken) == [part]
    assert sorted(table["seed"].to_pylist()) == [3, 4]
    (moved,) = set_aside(store, broken).values()
    assert moved.parent.name == "aside"
    assert not part.exists()
    assert store.read()[1] == {}


def test_compaction_keeps_every_row_once_and_few_parts(store):
    store.write("c", {"runs": rows(2, 7), "trajectories": [{"run_id": "x", "step": s} for s in (2, 1)]}, {})
    store.write("d", {"runs": rows(8), "trajectories": [{"run_id": "w", "step": 5}]}, {})
    before = {row["run_id"]: row for row in store.read()[0].to_pylist()}
    assert compact(store)["runs"] == (4, 1)
    table, _ = store.read()
    assert {row["run_id"]: row for row in table.to_pylist()} == before
    assert table["run_id"].to_pylist() == sorted(before)
    assert [(m["run_id"], m["step"]) for m in store.read("trajectories")[0].to_pylist()] == [
        ("w", 5),
        ("x", 1),
        ("x", 2),
    ]
    assert compact(store)["runs"] == (1, 1)


def test_compaction_leaves_broken_parts_where_they_are(store):
    part = store.parts()[0]
    part.write_bytes(b"broken")
    store.write("c", {"runs": rows(7)}, {})
    assert compact(store)["runs"] == (3, 2)
    assert part.exists()


# Other schemas: a part without these columns, that says it is of that version ----------------------------------------


def strip(part, version, *lacking):
    older = pq.read_table(part).drop_columns(list(lacking))
    pq.write_table(
        older.replace_schema_metadata(None if version is None else {"relusweep.schema_version": str(version)}), part
    )


@pytest.mark.parametrize("version", [None, 0, SCHEMA_VERSION])
def test_part_without_a_parameter_is_read_with_its_default(store, version):
    part = store.parts()[0]
    strip(part, version, "tolerance", "optimizer", "seed", "radius")
    table, broken = store.read()
    assert not broken
    found = [row for row in table.to_pylist() if row["run_id"] in {each["run_id"] for each in rows(0, 1, 2)}]
    assert {(row["tolerance"], row["optimizer"], row["seed"], row["radius"]) for row in found} == {
        (1e-8, "gd", 0, None)
    }


def test_older_part_without_a_result_is_read_with_nulls_and_one_of_this_version_is_broken(store):
    part = store.parts()[0]
    whole = part.read_bytes()
    for version in (None, SCHEMA_VERSION):
        part.write_bytes(whole)
        strip(part, version, "knot_points")
        assert store.read()[1] == {part: "its columns are not those of this table: it lacks knot_points"}
    part.write_bytes(whole)
    strip(part, 1, "knot_points")
    table, broken = store.read()
    assert not broken
    assert table["knot_points"].null_count == 5


@pytest.mark.parametrize("column", ["run_id", "status", "lr", "problem"])
def test_part_without_what_every_version_has_is_broken(store, column):
    part = store.parts()[0]
    strip(part, 1, column)
    assert store.read()[1] == {part: f"its columns are not those of this table: it lacks {column}"}


def test_part_with_a_column_that_no_version_knows_is_broken_and_says_which(store):
    part = store.parts()[0]
    strange = pq.read_table(part).append_column("clipp", [[1, 2, 3]]).append_column("aim", [[1, 2, 3]])
    pq.write_table(strange, part)
    assert store.read()[1] == {part: "its columns are not those of this table: unknown aim, clipp"}


def test_part_of_a_later_schema_is_broken_and_says_so(store):
    part = store.parts()[0]
    strip(part, 99)
    assert store.read()[1] == {
        part: f"schema 99; this version reads up to {SCHEMA_VERSION}. Use the relusweep that wrote it"
    }


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
    with pytest.raises(StoreError, match="schema 99, this version reads up to 2"):
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


def test_failures_and_progress_are_read_back(store):
    store.write_failure("p", {"pack_id": "p", "error": "boom"})
    store.write_progress("w", {"worker": "w", "step": 3})
    (store.path / "progress" / "half.json").write_text("{")
    assert [failure["error"] for failure in store.failures()] == ["boom"]
    assert [progress["step"] for progress in store.progress()] == [3]
    store.clear_failure("p")
    store.clear_progress("w")
    assert store.failures() == store.progress() == []


def test_part_with_a_status_that_is_none_is_broken(tmp_path):
    made = Store.create(tmp_path / "store")
    made.write("a", {"runs": [row | {"status": "odd"} for row in rows(0)]}, {})
    assert "a status is none of budget, converged, diverged" in next(iter(made.broken("runs").values()))
