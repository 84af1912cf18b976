"""Compaction: the parts of every table merged into few sorted ones."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from relusweep.sweep.record import KEYS, SCHEMAS, provenance
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.part import UNREADABLE, check_seal, distinct, patiently, read_part, write_part
from relusweep.sweep.store.store import TABLES, Store

COMPACT_BYTES = 64 * 2**20  # one part of a compacted store holds about this much; making it took 0.8 GiB


def compact(store: Store) -> dict[str, tuple[int, int]]:
    """Merge the parts of every table into few sorted ones.

    A new part is published, and read back, before its sources are deleted, and readers drop doubles, so that a kill at
    any moment loses nothing. Broken parts stay where they are; those of earlier schemas become parts of this one.

    Returns:
        For each table the number of parts before and after.

    Raises:
        StoreError: if the disk is full or the directory cannot be written.
    """
    Store.create(store.path)  # a store of an earlier schema becomes one of this, as its parts do
    counts = {}
    for table in TABLES:
        before = store.parts(table)
        counts[table] = (len(before), sum(_merge(table, group) for group in _by_size(before)))
    return counts


def _merge(table: str, parts: list[Path]) -> int:
    """Merge parts into one; return how many there are afterwards."""
    if len(parts) < 2:
        return len(parts)
    found, merged = [], []
    for part in parts:
        try:
            found.append(patiently(_sound, part))
            merged.append(part)
        except UNREADABLE:
            continue
    if not merged:
        return len(parts)
    rows = distinct(pa.concat_tables(found), KEYS[table])
    rows = rows.sort_by([(key, "ascending") for key in KEYS[table]])
    digest = hashlib.blake2b("".join(rows["run_id"].to_pylist()).encode(), digest_size=8).hexdigest()
    metadata = {f"relusweep.{key}": value for key, value in provenance().items()}
    target = parts[0].with_name(f"compact-{digest}.parquet")
    write_part(target, rows.replace_schema_metadata(metadata))
    if not patiently(_sound, target).select(KEYS[table]).equals(rows.select(KEYS[table])):
        raise StoreError(
            f"{target}: not what was written to it; expected the rows of {len(merged)} parts, which are kept."
        )
    for part in merged:
        if part != target:
            part.unlink(missing_ok=True)
    return 1 + len(parts) - len(merged)


def _sound(part: Path) -> pa.Table:
    check_seal(part)
    return read_part(part, SCHEMAS[part.parent.name])


def _by_size(parts: list[Path]) -> Iterator[list[Path]]:
    group: list[Path] = []
    total = 0
    for part in parts:
        try:
            size = part.stat().st_size
        except FileNotFoundError:
            continue  # compacted by another process, or set aside
        if group and total + size > COMPACT_BYTES:
            yield group
            group, total = [], 0
        group.append(part)
        total += size
    if group:
        yield group
