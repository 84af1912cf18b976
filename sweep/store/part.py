"""Part: one Parquet file of a table. Never changed once it is there; read piece by piece, its checksums verified."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from relusweep.sweep.record import KEYS, SCHEMA_VERSION, SCHEMAS, STATUSES
from relusweep.sweep.store.atomic import replacing, store_errors

UNREADABLE = (pa.ArrowException, OSError, ValueError)  # damaged names of columns are not even text
_PIECE_ROWS = 2**14  # in memory at once: a compacted part may hold a million


def write_part(path: Path, content: pa.Table) -> None:
    """Write a part whole or not at all."""
    with store_errors(path), replacing(path) as temporary:
        pq.write_table(content, temporary, compression="zstd", write_page_checksum=True)


def columns_of(table: str, wanted: list[str] | None) -> pa.Schema:
    """Give the columns that are wanted, all by default, in the order of the table and with its key columns."""
    schema = SCHEMAS[table]
    if wanted is None:
        return schema
    return pa.schema([field for field in schema if field.name in {*KEYS[table], *wanted}])


def pieces(part: Path, columns: pa.Schema) -> Iterator[pa.Table]:
    """Read a part of the table that its folder is named after; columns that an older part lacks are null.

    Raises:
        UNREADABLE: one of these, if it is damaged or no part of this table; pieces may have been read by then.
    """
    with pq.ParquetFile(part, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        written_by = (file.schema_arrow.metadata or {}).get(b"relusweep.schema_version", b"")
        older = written_by.isdigit() and int(written_by) < SCHEMA_VERSION
        if names != SCHEMAS[part.parent.name].names and not older:
            raise pa.ArrowInvalid("its columns are not those of this table")
        present = [name for name in columns.names if name in names]
        for piece in file.iter_batches(_PIECE_ROWS, columns=present):
            arrays = [
                piece[field.name] if field.name in names else pa.nulls(len(piece), field.type) for field in columns
            ]
            rows = pa.table(arrays, names=columns.names).cast(columns)
            if "status" in columns.names and not set(rows["status"].unique().to_pylist()) <= STATUSES:
                raise pa.ArrowInvalid(f"a status is none of {', '.join(sorted(STATUSES))}")
            yield rows


def read_part(part: Path, columns: pa.Schema) -> pa.Table:
    """Read a part as a whole."""
    return stack(pieces(part, columns), columns)


def stack(tables: Iterable[pa.Table], columns: pa.Schema) -> pa.Table:
    """Put tables beneath each other; none give an empty one."""
    return pa.concat_tables([columns.empty_table(), *tables])


def distinct(rows: pa.Table, keys: tuple[str, ...]) -> pa.Table:
    """Keep the first of rows with equal keys, in their order."""
    indexed = rows.select(keys).append_column("_row", pa.array(np.arange(len(rows))))
    firsts = indexed.group_by(list(keys), use_threads=False).aggregate([("_row", "min")])["_row_min"]
    return rows if len(firsts) == len(rows) else rows.take(firsts)
