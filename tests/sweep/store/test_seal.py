"""Seal: no changed bit of a part goes unnoticed, and other readers of Parquet see nothing of it."""

import random

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.part import UNREADABLE, check
from relusweep.sweep.store.seal import is_broken


def test_other_readers_read_a_sealed_part(store):
    part = store.parts()[0]
    assert b"relusweep seal: " in part.read_bytes()
    assert pq.read_table(part)["seed"].to_pylist() == [0, 1, 2]
    assert pl.read_parquet(part)["seed"].to_list() == [0, 1, 2]
    assert pl.scan_parquet(part).filter(pl.col("seed") > 1).collect()["seed"].to_list() == [2]
    check(part)


@pytest.mark.slow
def test_every_flipped_bit_is_found(store, tmp_path):
    """In the footer, where checksums of pages do not reach, as in the pages."""
    part = store.parts()[0]
    content = part.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    chance = random.Random(0)
    places = [
        *range(footer, len(content), 5),
        *chance.sample(range(footer), 400),
        *range(len(content) - 8, len(content)),
    ]
    missed = []
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        part.write_bytes(damaged)
        try:
            check(part)
        except UNREADABLE:
            continue
        missed.append(place)
    assert not missed
    part.write_bytes(content)
    check(part)


def test_part_whose_footer_lost_a_column_is_broken_for_every_reader_of_ours(store):
    """Arrow's iterator ends early then, without an error: rows that were promised are not there."""
    part = store.parts()[0]
    content = part.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    silent = 0
    for place in range(footer, len(content)):
        if content[place - 2 : place + 1] == b"\x26\x00\x1c":  # a chunk's offset, and the kind of what comes next
            part.write_bytes(content[:place] + b"\x14" + content[place + 1 :])
            if _is_silent(part):
                silent += 1
                assert list(store.read()[1]) == [part]
                assert list(store.broken("runs")) == [part]
    assert silent > 5


def _is_silent(part) -> bool:
    try:
        with pq.ParquetFile(part, page_checksum_verification=True) as file:
            return sum(len(piece) for piece in file.iter_batches()) < file.metadata.num_rows
    except UNREADABLE:
        return False


def test_part_of_an_earlier_version_has_no_seal_and_is_sound(store):
    part = store.parts()[0]
    pq.write_table(pq.read_table(part).replace_schema_metadata({"relusweep.schema_version": "2"}), part)
    assert not is_broken(part)
    check(part)


def test_part_that_lost_its_seal_is_broken(store):
    part = store.parts()[0]
    pq.write_table(pq.read_table(part), part)
    with pytest.raises(pa.ArrowInvalid, match="differs from what was written"):
        check(part)


def test_compaction_leaves_parts_with_a_changed_bit_where_they_are(store):
    part = store.parts()[0]
    content = bytearray(part.read_bytes())
    place = content.index(b"relusweep.code_version")  # in the footer: the rows are read without an error
    content[place] ^= 1
    part.write_bytes(content)
    compact(store)
    assert part.read_bytes() == bytes(content)
    assert list(store.broken("runs")) == [part]
    assert sorted(store.read(columns=["seed"])[0]["seed"].to_pylist()) == [0, 1, 2, 3, 4]
