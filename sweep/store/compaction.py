"""Compaction: the parts of every table merged into few sorted ones."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from relusweep.sweep.record import KEYS, SCHEMAS, provenance
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.part import (
    UNREADABLE,
    check_seal,
    columns_of,
    distinct,
    extra_in,
    patiently,
    read_part,
    stack,
    with_extra,
    write_part,
)
from relusweep.sweep.store.run_ids import Keys, RunIds, keys_of
from relusweep.sweep.store.store import TABLES, Store

COMPACT_BYTES = 64 * 2**20  # one part of a compacted store holds about this much; making it took 0.8 GiB


def compact(store: Store) -> dict[str, tuple[int, int]]:
    """Merge the parts of every table into few sorted ones.

    A new part is published, and read back, before its sources are deleted, and readers drop doubles, so that a kill at
    any moment loses nothing. Of rows that are there twice the first is kept; to know those that went into other parts
    takes 16 bytes a run. (Of trajectories doubles are dropped where they go into one part.) Broken parts stay where
    they are; those of earlier schemas become parts of this one.

    Returns:
        For each table the number of parts before and after.

    Raises:
        StoreError: if the disk is full or the directory cannot be written.
    """
    Store.create(store.path)  # a store of an earlier schema becomes one of this, as its parts do
    counts = {}
    for table in TABLES:
        before, after, known = store.parts(table), 0, RunIds()
        for group in _by_size(before):
            if len(group) > 1 or _repeats(table, group[0], known):
                left, keys = _merge(table, group, known)
            else:
                left, keys = 1, _ids(table, group[0])
            after, known = after + left, RunIds.of(known.keys, keys)
        counts[table] = (len(before), after)
    return counts


def _repeats(table: str, part: Path, known: RunIds) -> bool:
    return bool(known) and bool(known.find(_ids(table, part))[1].any())


def _ids(table: str, part: Path) -> Keys:
    """Return the runs of a sound part of which no other part may have rows; none of a broken one."""
    if KEYS[table] != ("run_id",):
        return RunIds().keys
    try:
        return patiently(_sound_ids, part)
    except UNREADABLE:
        return RunIds().keys


def _merge(table: str, parts: list[Path], known: RunIds) -> tuple[int, Keys]:
    """Merge parts into one, but for rows of runs that are known to be in others.

    Returns:
        How many parts there are afterwards, and the runs of which no other part may have rows.
    """
    found, merged = [], []
    for part in parts:
        try:
            found.append(patiently(_sound, part))
            merged.append(part)
        except UNREADABLE:
            continue
    if not merged:
        return len(parts), RunIds().keys
    rows = distinct(stack(found, SCHEMAS[table]), KEYS[table])
    rows = rows.select(with_extra(table, rows.schema).names)
    if known:
        rows = rows.filter(pa.array(~known.find(keys_of(rows["run_id"]))[1]))
    keys = keys_of(rows["run_id"]) if KEYS[table] == ("run_id",) else RunIds().keys
    if not len(rows):
        _delete(merged)
        return len(parts) - len(merged), keys
    rows = rows.sort_by([(key, "ascending") for key in KEYS[table]])
    digest = hashlib.blake2b("".join(rows["run_id"].to_pylist()).encode(), digest_size=8).hexdigest()
    metadata = {f"relusweep.{key}": value for key, value in provenance().items()} | extra_in(table, rows.schema)
    names = (f"compact-{digest}{f'-{again}' if again else ''}.parquet" for again in itertools.count())
    target = next(
        path for path in map(parts[0].with_name, names) if path not in merged
    )  # sources stay until it is read
    write_part(target, rows.replace_schema_metadata(metadata))
    if not _holds(target, rows.select(KEYS[table])):
        target.unlink(missing_ok=True)
        raise StoreError(
            f"{target}: not what was written to it; expected the rows of {len(merged)} parts, which are kept. Look "
            "after the disk, then run the same command again."
        )
    _delete(merged)
    return 1 + len(parts) - len(merged), keys


def _holds(part: Path, keys: pa.Table) -> bool:
    """Read every byte of a part; return whether it has the rows of these keys."""
    try:
        return patiently(_sound, part).select(keys.column_names).equals(keys)
    except UNREADABLE:
        return False


def _delete(parts: Iterable[Path]) -> None:
    for part in parts:
        part.unlink(missing_ok=True)


def _sound_ids(part: Path) -> Keys:
    check_seal(part)
    return keys_of(read_part(part, columns_of(part.parent.name, []))["run_id"])


def _sound(part: Path) -> pa.Table:
    check_seal(part)
    rows = read_part(part, SCHEMAS[part.parent.name], extra=True)
    if KEYS[part.parent.name] == ("run_id",):
        keys_of(rows["run_id"])  # or it is broken
    return rows


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
