"""Outcomes: what stands beside a part's seal is what its columns say, and is believed only where the whole part is."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relusweep.sweep.record import SCHEMAS
from relusweep.sweep.store import part as parts
from relusweep.sweep.store.outcomes import LETTERS, PROMISED, enclosed, keys, outcomes_of, read
from relusweep.sweep.store.part import check, outcomes, write_part
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.seal import enclosure, seal
from tests.sweep.store.conftest import rows

MIXED = [
    *rows(0, status="converged", moments=3),
    *rows(1, status="diverged", weights_saved=False),
    *rows(2, status="budget", moments=0, weights_saved=True),
]


@pytest.fixture
def part(store):
    store.write("mixed", {"runs": MIXED}, {})
    return store.path / "runs" / "pack-mixed.parquet"


def test_statuses_have_different_letters():
    assert len(set(LETTERS.values())) == len(LETTERS) == 3


def test_a_part_says_beside_its_seal_what_its_columns_say(part, monkeypatch):
    expected = [
        (row["run_id"], LETTERS[row["status"]],
         PROMISED["trajectories"] * bool(row.get("moments")) + PROMISED["weights"] * bool(row.get("weights_saved")))
        for row in MIXED
    ]  # fmt: skip
    monkeypatch.setattr(parts.pq, "ParquetFile", lambda *_, **__: pytest.fail("opened as Parquet"))
    found = outcomes(part)
    assert [keys(found)[place].ljust(16, b"\0").hex() for place in range(3)] == [each[0] for each in expected]
    assert list(zip(found["status"].tolist(), found["promised"].tolist(), strict=True)) == [
        each[1:] for each in expected
    ]


def test_a_part_without_seal_is_read_by_its_columns(part):
    before = outcomes(part)
    pq.write_table(pq.read_table(part).replace_schema_metadata({"relusweep.schema_version": "2"}), part)
    assert enclosure(part) is None
    assert outcomes(part).tolist() == before.tolist()


def test_a_sealed_part_that_encloses_nothing_or_something_of_another_version_is_read_by_its_columns(part):
    before = outcomes(part)
    for enclosed_bytes in (b"", (99).to_bytes(8, "little") + b"x" * 18):
        pq.write_table(pq.read_table(part), part)
        seal(part, enclosed_bytes)
        assert enclosure(part) == enclosed_bytes
        assert outcomes(part).tolist() == before.tolist()
        check(part)


def test_every_changed_byte_is_seen_by_who_reads_no_more_than_outcomes(part):
    content = part.read_bytes()
    for place in range(0, len(content), 29):
        part.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found = outcomes(part)
        except parts.UNREADABLE:
            continue
        # one bit of the seal's own mark: then it is read by its columns, whose pages have checksums
        assert found.tolist() == outcomes_of(pq.read_table(part)).tolist()
        with pytest.raises(parts.UNREADABLE):
            check(part)


def test_check_finds_rows_of_which_others_are_enclosed(part):
    others = pa.Table.from_pylist(rows(7, 8, 9, 10), schema=SCHEMAS["runs"])
    pq.write_table(pq.read_table(part), part)
    seal(part, enclosed(others))
    with pytest.raises(pa.ArrowInvalid, match="its rows are not those that are named beside its seal"):
        check(part)


def test_rows_that_are_none_of_this_table_are_enclosed_in_no_part(tmp_path):
    odd = pa.Table.from_pylist([row | {"status": "odd"} for row in rows(0)], schema=SCHEMAS["runs"])
    assert enclosed(odd) == b""
    assert read(b"") is read(None) is None
    part = tmp_path / "trajectories" / "pack-a.parquet"
    part.parent.mkdir()
    write_part(part, pa.Table.from_pylist([{"run_id": "ab" * 16, "step": 1}], schema=SCHEMAS["trajectories"]))
    assert enclosure(part) == b""


def test_an_empty_table_has_no_outcomes():
    assert len(RunIds.of(keys(outcomes_of(SCHEMAS["runs"].empty_table())))) == 0
