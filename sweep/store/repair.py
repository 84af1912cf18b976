"""Repair: broken parts are set aside, so that what was in them is trained again; what killed processes left is deleted.

Killed between any two steps, a repair has lost nothing and the next one finishes it; several processes may repair one
store at once.
"""

import os
import secrets
import shutil
from collections.abc import Container, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from relusweep.sweep.record import SCHEMA_VERSION, SCHEMAS
from relusweep.sweep.store import clock
from relusweep.sweep.store.atomic import StoreError, replacing, store_errors
from relusweep.sweep.store.part import UNREADABLE, columns_of, read_part, schema_version, take_each, write_part
from relusweep.sweep.store.run_ids import Keys, RunIds, keys_of
from relusweep.sweep.store.store import TABLES, Store

_TEMPORARY_SECONDS = 3600  # an older temporary file was left behind: writing the largest takes minutes
_PROGRESS_SECONDS = 86400
_LEFTOVERS = {  # every folder into which something is written under a temporary name
    ".*.tmp": _TEMPORARY_SECONDS,
    "*/.*.tmp": _TEMPORARY_SECONDS,
    "jobs/*/.*.tmp": _TEMPORARY_SECONDS,
    "jobs/*/*/.*.tmp": _TEMPORARY_SECONDS,
    "progress/*.json": _PROGRESS_SECONDS,
}


def repair(store: Store) -> dict[Path, tuple[str, Path]]:
    """Read every part with its checksums, and move those that are broken to `aside/`.

    Runs in a broken part of `runs` are missing from then on. Runs whose moments or weights were in a broken part are
    taken out of `runs`, so that they are missing too; their old part is kept aside as well.

    Returns:
        For each broken part, what is wrong with it and where it went.

    Raises:
        StoreError: if a part is of a later schema, so that it only seems broken, or the directory cannot be written.
    """
    listed = {part: inode for table in TABLES for part, inode in store.inodes(table).items()}
    broken = {part: why for table in TABLES for part, why in store.broken(table).items()}
    for part in broken:
        _refuse_later(part)
    for table in {part.parent.name for part in broken} - {"runs"}:
        # first, so that after a kill the broken part is still there for the next repair
        forget(store, store.ledger().promised(table) - _ids_besides(store, table, broken))
    now = {part: inode for table in TABLES for part, inode in store.inodes(table).items()}
    moved = set_aside(store, [part for part in broken if part in listed and now.get(part) == listed[part]])
    set_aside(store, [path for path in store.checkpoints() if path.is_dir()])  # no state; a worker could write none
    return {part: (why, moved[part]) for part, why in broken.items() if part in moved}


def set_aside(store: Store, parts: Iterable[Path]) -> dict[Path, Path]:
    """Move parts out of the tables, so that their runs count as missing.

    Returns:
        Where each went; a part that is gone was set aside by another process, and is left out.

    Raises:
        StoreError: if the directory cannot be written.
    """
    moved = {}
    with store_errors(store.path):
        (store.path / "aside").mkdir(exist_ok=True, mode=0o700)
        for part in parts:
            target = _place_aside(store, part)
            try:
                os.replace(part, target)
            except FileNotFoundError:
                continue
            moved[part] = target
    return moved


def forget(store: Store, run_ids: RunIds, table: str = "runs") -> None:
    """Take runs out of a table; out of `runs`, they count as missing. Their parts are kept in `aside/` too.

    Raises:
        StoreError: if the directory cannot be written.
    """
    done: set[tuple[Path, int]] = set()

    def reduce(part: Path) -> None:
        done.add((part, part.stat().st_ino))
        rows = read_part(part, SCHEMAS[table], extra=True)
        forgotten = run_ids.find(keys_of(rows["run_id"]))[1]
        if not forgotten.any():
            return
        written = {b"relusweep.schema_version": str(SCHEMA_VERSION).encode()}  # by now, whoever wrote the part
        metadata = (pq.read_schema(part).metadata or {}) | written
        with store_errors(store.path):
            kept = _copy_aside(store, part)  # before anything is taken away
        if not kept:
            raise FileNotFoundError(part)  # compacted meanwhile: its rows are in a part that is listed anew
        if forgotten.all():
            with store_errors(store.path):
                part.unlink(missing_ok=True)
        else:
            write_part(part, rows.filter(pa.array(~forgotten)).replace_schema_metadata(metadata))

    if not run_ids:
        return
    with store_errors(store.path):
        (store.path / "aside").mkdir(exist_ok=True, mode=0o700)
    take_each(lambda: [part for part, inode in store.inodes(table).items() if (part, inode) not in done], reduce)


def remove_leftovers(store: Store) -> None:
    """Delete what killed processes left: temporary files older than an hour, progress older than a day."""
    now, here = clock.now(store.path), store.path.resolve()
    for pattern, age in _LEFTOVERS.items():
        for path in store.path.glob(pattern):
            if path.parent.resolve() != here / path.parent.relative_to(store.path):
                continue  # by a link, out of the store
            try:
                if now - path.stat().st_mtime > age:
                    path.unlink()
            except OSError:
                continue  # another process deleted it


def _ids_besides(store: Store, table: str, broken: Container[Path]) -> RunIds:
    """Return ids of the runs in sound parts: of a broken one the column of ids alone may be readable."""
    found: list[Keys] = []
    take_each(
        lambda: [part for part in store.parts(table) if part not in broken],
        lambda part: found.append(keys_of(read_part(part, columns_of(table, []))["run_id"])),
    )
    return RunIds.of(*found)


def _refuse_later(part: Path) -> None:
    try:
        version = schema_version(part)
    except UNREADABLE:
        return
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{part}: schema {version}; expected at most {SCHEMA_VERSION}, which this version reads. "
            "Use the relusweep that wrote it, or another --out."
        )


def _place_aside(store: Store, part: Path) -> Path:
    return store.path / "aside" / f"{part.parent.name}-{secrets.token_hex(4)}-{part.name}"


def _copy_aside(store: Store, part: Path) -> bool:
    """Keep a part aside while it stays where it is; return False if it is gone."""
    target = _place_aside(store, part)
    try:
        os.link(part, target)
    except FileNotFoundError:
        return False
    except OSError:  # some file systems know no links
        with replacing(target) as temporary:
            shutil.copyfile(part, temporary)
    return True
