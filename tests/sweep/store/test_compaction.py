"""Compaction: fewer parts, the same rows."""

import pyarrow.parquet as pq

from relusweep.sweep.record import SCHEMA_VERSION
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.part import schema_version
from relusweep.sweep.store.store import Store
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
