"""Part: one Parquet file of a table. Never changed once it is there; read piece by piece, its checksums verified.

Parts of every earlier schema are read as if this version had written them: a parameter that they lack has its default,
which is what their runs were trained with; a result that they lack is null.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from relusweep.sweep.record import DEFAULTS, KEYS, SCHEMA_VERSION, SCHEMAS, STATUSES
from relusweep.sweep.run import PARAMETERS
from relusweep.sweep.store.atomic import replacing, store_errors

UNREADABLE = (pa.ArrowException, OSError, ValueError)  # damaged names of columns are not even text
_PIECE_ROWS = 2**14  # in memory at once: a compacted part may hold a million
_ALWAYS = {"status", *(name for keys in KEYS.values() for name in keys), *(set(PARAMETERS) - set(DEFAULTS))}


def write_part(path: Path, content: pa.Table) -> None:
    """Write a part whole or not at all.

    Raises:
        StoreError: if the file system refuses.
    """
    with store_errors(path), replacing(path) as temporary:
        pq.write_table(content, temporary, compression="zstd", write_page_checksum=True)


def columns_of(table: str, wanted: list[str] | None) -> pa.Schema:
    """Return the columns that are wanted, all by default, in the order of the table and with its key columns."""
    schema = SCHEMAS[table]
    if wanted is None:
        return schema
    return pa.schema([field for field in schema if field.name in {*KEYS[table], *wanted}])


def completed(rows: pa.RecordBatch | pa.Table, columns: pa.Schema) -> pa.Table:
    """Return these columns of rows that may lack some: parameters have their defaults then, results are null."""
    arrays = []
    for field in columns:
        has = field.name in rows.schema.names
        array = rows[field.name].cast(field.type) if has else pa.nulls(len(rows), field.type)
        default = DEFAULTS.get(field.name)
        arrays.append(array if default is None or not array.null_count else pc.fill_null(array, default))
    return pa.table(arrays, schema=columns)


def pieces(part: Path, columns: pa.Schema) -> Iterator[pa.Table]:
    """Read a part of the table that its folder is named after; what an older part lacks is filled in by `completed`.

    Raises:
        UNREADABLE: one of these, if it is damaged, no part of this table or of a later schema; pieces may have been
            read by then.
    """
    with pq.ParquetFile(part, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        if why := _misfit(part.parent.name, names, _version(file.schema_arrow)):
            raise pa.ArrowInvalid(why)
        present = [name for name in columns.names if name in names]
        for piece in file.iter_batches(_PIECE_ROWS, columns=present):
            rows = completed(piece, columns)
            if "status" in columns.names and not set(rows["status"].unique().to_pylist()) <= STATUSES:
                raise pa.ArrowInvalid(f"a status is none of {', '.join(sorted(STATUSES))}")
            yield rows


def schema_version(part: Path) -> int:
    """Return the version of the schema that a part was written with.

    Raises:
        UNREADABLE: one of these, if it is damaged or gone.
    """
    return _version(pq.read_schema(part))


def _version(schema: pa.Schema) -> int:
    """Return the version that a footer names; this one if it names none."""
    named = (schema.metadata or {}).get(b"relusweep.schema_version", b"")
    return int(named) if named.isdigit() else SCHEMA_VERSION


def _misfit(table: str, names: list[str], version: int) -> str | None:
    """Return why columns cannot be those of a table in this version; None if they can.

    A part of an earlier version may lack whatever has been added since. One that names this version may lack
    parameters only: who adds one may have tried it before the version was raised, and its rows are as good.
    """
    if version > SCHEMA_VERSION:
        return f"schema {version}; this version reads up to {SCHEMA_VERSION}. Use the relusweep that wrote it"
    known = SCHEMAS[table].names
    if unknown := sorted(set(names) - set(known)):
        return f"its columns are not those of this table: unknown {', '.join(unknown)}"
    needed = _ALWAYS if version < SCHEMA_VERSION else set(known) - set(DEFAULTS)
    if lacking := [name for name in known if name in needed and name not in names]:
        return f"its columns are not those of this table: it lacks {', '.join(lacking)}"
    return "its columns are not those of this table: one is there twice" if len(set(names)) < len(names) else None


def read_part(part: Path, columns: pa.Schema) -> pa.Table:
    """Read a part as a whole.

    Raises:
        UNREADABLE: as `pieces`.
    """
    return stack(pieces(part, columns), columns)


def take_each(parts: Callable[[], Iterable[Path]], take: Callable[[Path], None]) -> dict[Path, str]:
    """Take something from every part, once more from all that are listed anew if one has vanished meanwhile.

    Parts vanish while others are read because they are compacted: then their rows are in another one.

    Args:
        parts: Lists those that are still to be taken.
        take: Reads one.

    Returns:
        The parts that could not be read, with the reason; those that are gone are not among them.
    """
    broken: dict[Path, str] = {}
    for _ in range(2):
        broken = {}
        for part in parts():
            try:
                take(part)
            except UNREADABLE as error:
                broken[part] = (str(error).splitlines() or [type(error).__name__])[0]
        there = {part: why for part, why in broken.items() if part.exists()}
        if len(there) == len(broken):
            break
        broken = there
    return broken


def stack(tables: Iterable[pa.Table], columns: pa.Schema) -> pa.Table:
    """Put tables beneath each other; none of them make an empty one."""
    return pa.concat_tables([columns.empty_table(), *tables])


def distinct(rows: pa.Table, keys: tuple[str, ...]) -> pa.Table:
    """Keep the first of rows with equal keys, in their order."""
    indexed = rows.select(keys).append_column("_row", pa.array(np.arange(len(rows))))
    firsts = indexed.group_by(list(keys), use_threads=False).aggregate([("_row", "min")])["_row_min"]
    return rows if len(firsts) == len(rows) else rows.take(firsts)
