"""Compaction: fewer parts, the same rows."""

import pyarrow.parquet as pq
import pytest

from relusweep.sweep.record import SCHEMA_VERSION
from relusweep.sweep.store import compaction
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.part import schema_version
from relusweep.sweep.store.store import Store, StoreError
from tests.sweep.store.conftest import rows


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


@pytest.mark.parametrize("together", [1, 2])
def test_rows_that_are_there_twice_are_dropped_though_they_go_into_different_parts(store, monkeypatch, together):
    """Parts a, b, c and d of equal size are merged one by one, or two by two."""
    store.write("c", {"runs": rows(2, 7, loss=9.0)}, {})
    store.write("d", {"runs": rows(0, 1, loss=9.0)}, {})
    largest = max(part.stat().st_size for part in store.parts())
    monkeypatch.setattr(compaction, "COMPACT_BYTES", together * largest)
    before = {row["run_id"]: row for row in store.read()[0].to_pylist()}
    assert store.ledger().doubled() == 3
    assert compact(store)["runs"] == (4, 3 if together == 1 else 2)
    assert store.ledger().doubled() == 0
    assert {row["run_id"]: row for row in store.read()[0].to_pylist()} == before
    assert [row["loss"] for row in before.values()].count(9.0) == 1  # of seed 7, which is there once
    assert compact(store)["runs"][1] <= 3
    assert not [part for part in store.parts() if part in store.broken("runs")]


@pytest.mark.parametrize("kept", ["sources of their own names", "a source of the same rows"])
@pytest.mark.parametrize("damage", ["a bit", "a byte less", "other rows"])
def test_what_is_not_read_back_as_it_was_written_replaces_nothing(store, monkeypatch, kept, damage):
    if kept == "a source of the same rows":
        compact(store)
        store.write("c", {"runs": rows(2)}, {})  # a double of one of them
    before = {part: part.read_bytes() for part in store.parts()}
    write = compaction.write_part

    def damaged(path, content):
        write(path, content.slice(1) if damage == "other rows" else content)
        written = bytearray(path.read_bytes())
        written[len(written) // 2] ^= damage == "a bit"
        path.write_bytes(written[:-1] if damage == "a byte less" else written)

    with monkeypatch.context() as patch:
        patch.setattr(compaction, "write_part", damaged)
        with pytest.raises(StoreError, match="compact-.*: not what was written to it; expected the rows of 2 parts, which are kept"):  # fmt: skip
            compact(store)
    assert {part: part.read_bytes() for part in store.parts()} == before
    found = {row["run_id"]: row for row in store.read()[0].to_pylist()}
    assert compact(store)["runs"] == (2, 1)
    assert {row["run_id"]: row for row in store.read()[0].to_pylist()} == found
    assert store.broken("runs") == {}


def test_rows_that_are_there_twice_stay_where_the_other_part_is_broken(store, monkeypatch):
    store.write("c", {"runs": rows(0, 1, 2)}, {})
    content = bytearray(store.parts()[0].read_bytes())
    content[len(content) // 3] ^= 1
    store.parts()[0].write_bytes(content)
    monkeypatch.setattr(compaction, "COMPACT_BYTES", 1)
    compact(store)
    assert len(store.parts()) == 3
    assert len(store.recorded()) == 5


def test_compaction_leaves_broken_parts_where_they_are(store):
    part = store.parts()[0]
    part.write_bytes(b"broken")
    store.write("c", {"runs": rows(7)}, {})
    assert compact(store)["runs"] == (3, 2)
    assert part.exists()


def test_part_of_an_earlier_schema_becomes_one_of_this_with_its_defaults(store):
    part = store.parts()[0]
    older = pq.read_table(part).drop_columns(["noise", "knot_points"])
    pq.write_table(older.replace_schema_metadata({"relusweep.schema_version": "1"}), part)
    assert compact(store)["runs"] == (2, 1)
    (merged,) = store.parts()
    assert schema_version(merged) == SCHEMA_VERSION
    whole = pq.read_table(merged)
    assert whole["noise"].to_pylist() == [0.0] * 5
    assert whole["knot_points"].null_count == 5


def test_part_that_another_process_has_compacted_meanwhile_is_no_matter(store, monkeypatch):
    before = sorted(store.read()[0]["seed"].to_pylist())
    parts = Store.parts

    def late(self, table="runs"):
        found = parts(self, table)
        if table == "runs" and len(found) > 1:
            monkeypatch.setattr(Store, "parts", parts)
            compact(store)
        return found

    monkeypatch.setattr(Store, "parts", late)
    compact(store)
    assert sorted(store.read()[0]["seed"].to_pylist()) == before
