"""Part: one Parquet file of a table. Never changed once it is there; read piece by piece, its checksums verified.

Parts of every earlier schema are read as if this version had written them: a parameter that they lack has its default,
which is what their runs were trained with; a result that they lack is null.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from relusweep.sweep.record import DEFAULTS, KEYS, SCHEMA_VERSION, SCHEMAS, STATUSES
from relusweep.sweep.run import PARAMETERS
from relusweep.sweep.store import small_file
from relusweep.sweep.store.atomic import replacing, store_errors
from relusweep.sweep.store.outcomes import COLUMNS, NONE, Outcomes, enclosed, outcomes_of, read
from relusweep.sweep.store.seal import enclosure, is_broken, seal

UNREADABLE = (pa.ArrowException, OSError, ValueError)  # damaged names of columns are not even text
_SEALED, _EXTRA = b"relusweep.sealed", b"relusweep.extra"  # keys in a footer
_MOST_BYTES = 2**31  # in memory, of a group of rows; compacted parts have a tenth of that
_GROUP_ROWS, _GROUP_BYTES = 2**20, 2**28  # as they are written
_MOST_ROWS_A_BYTE = 64  # of a file: a row has a key of its own, which takes about one
_MOST_SHOWN = 200  # letters of what is wrong
_PIECE_ROWS = 2**14  # in memory at once: a compacted part may hold a million
_ALWAYS = {"status", *(name for keys in KEYS.values() for name in keys), *(set(PARAMETERS) - set(DEFAULTS))}
T = TypeVar("T")


def write_part(path: Path, content: pa.Table, drafts: Path | None = None) -> None:
    """Write a part whole or not at all.

    Args:
        path: Where it is to be.
        content: Its rows; what its schema says of columns that are its own is `extra_in`.
        drafts: The folder of a lease, from which it is moved there; if that has been deleted, it is not recorded.

    Raises:
        StoreError: if the file system refuses.
    """
    with store_errors(path), replacing(path, drafts) as temporary:
        marked = content.replace_schema_metadata((content.schema.metadata or {}) | {_SEALED: b"yes"})
        group = max(1, min(_GROUP_ROWS, _GROUP_BYTES * len(content) // max(1, content.nbytes)))
        pq.write_table(marked, temporary, group, compression="zstd", write_page_checksum=True)
        seal(temporary, enclosed(content) if path.parent.name == "runs" else b"")


def columns_of(table: str, wanted: list[str] | None) -> pa.Schema:
    """Return the columns that are wanted, all by default, in the order of the table and with its key columns."""
    schema = SCHEMAS[table]
    if wanted is None:
        return schema
    return pa.schema([field for field in schema if field.name in {*KEYS[table], *wanted}])


def extra_in(table: str, schema: pa.Schema) -> dict[str, str]:
    """Return what a footer says of columns that are not the table's but the part's own; nothing if there are none."""
    names = with_extra(table, schema).names[len(SCHEMAS[table]) :]
    return {_EXTRA.decode(): ",".join(names)} if names else {}


def with_extra(table: str, schema: pa.Schema) -> pa.Schema:
    """Return the columns of a table, and behind them, by name, what a schema has besides."""
    known = SCHEMAS[table]
    return pa.schema([*known, *sorted((each for each in schema if each.name not in known.names), key=lambda f: f.name)])


def as_table(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table: its columns, and behind them those that are no table's, of numbers or lists of them."""
    own: dict[str, pa.DataType] = {}
    for name, value in ((name, row[name]) for row in rows for name in row.keys() - {*SCHEMAS[table].names}):
        own[name] = pa.list_(pa.float64()) if isinstance(value, list) else own.get(name, pa.float64())
    fields = [pa.field(name, own[name]) for name in sorted(own)]
    return pa.Table.from_pylist(rows, schema=pa.schema([*SCHEMAS[table], *fields]))


def completed(rows: pa.RecordBatch | pa.Table, columns: pa.Schema) -> pa.Table:
    """Return these columns of rows that may lack some: parameters have their defaults then, results are null."""
    arrays = []
    for field in columns:
        has = field.name in rows.schema.names
        array = rows[field.name].cast(field.type) if has else pa.nulls(len(rows), field.type)
        default = DEFAULTS.get(field.name)
        arrays.append(array if default is None or not array.null_count else pc.fill_null(array, default))
    return pa.table(arrays, schema=columns)


def pieces(part: Path, columns: pa.Schema, *, extra: bool = False) -> Iterator[pa.Table]:
    """Read a part of the table that its folder is named after; what an older part lacks is filled in by `completed`.

    Args:
        part: Which one.
        columns: Those wanted.
        extra: Whether those that are the part's own, as `[measure] extra` asks for them, come along.

    Raises:
        UNREADABLE: one of these, if it is damaged, no part of this table or of a later schema; pieces may have been
            read by then.
    """
    _refuse_strange(part)
    with pq.ParquetFile(part, page_checksum_verification=True) as file:
        if why := _excess(file.metadata, part.stat().st_size):
            raise pa.ArrowInvalid(why)
        names, own = file.schema_arrow.names, _extra(part.parent.name, file.schema_arrow)
        if why := _misfit(part.parent.name, names, {each.name for each in own}, _version(file.schema_arrow)):
            raise pa.ArrowInvalid(why)
        columns = pa.schema([*columns, *own]) if extra else columns
        present, left = [name for name in columns.names if name in names], file.metadata.num_rows
        for piece in file.iter_batches(_PIECE_ROWS, columns=present):
            rows = completed(piece, columns)
            left -= len(rows)
            if "status" in columns.names and not set(rows["status"].unique().to_pylist()) <= STATUSES:
                raise pa.ArrowInvalid(f"a status is none of {', '.join(sorted(STATUSES))}")
            yield rows
        if left:  # where a column has no place in the footer, they end without a word
            raise pa.ArrowInvalid(f"its footer promises {file.metadata.num_rows} rows; {left} are not there")


def check_seal(part: Path) -> bytes | None:
    """Read every byte of a part; return what it encloses, None if it was never sealed.

    Raises:
        UNREADABLE: one of these, if it is not what was written.
    """
    _refuse_strange(part)
    found = enclosure(part)
    if found is None and _SEALED in (pq.read_schema(part).metadata or {}):
        raise pa.ArrowInvalid("it differs from what was written")
    return found


def check(part: Path) -> None:
    """Read every byte of a part; and every value, where it has no seal of this version or an earlier one.

    A seal proves that nothing has changed since the part was written, and what it encloses was written with the rows;
    how many there are is held against the footer.

    Raises:
        UNREADABLE: as `pieces`, and if it is not what was written.
    """
    table, found = part.parent.name, check_seal(part)
    if (said := read(found)) is None:
        for _ in pieces(part, columns_of(table, None if found is None else COLUMNS)):
            pass
        return
    footer = pq.read_metadata(part)
    if why := _excess(footer, part.stat().st_size):
        raise pa.ArrowInvalid(why)
    if footer.num_rows != len(said):
        raise pa.ArrowInvalid("its rows are not those that are named beside its seal")


def outcomes(part: Path) -> Outcomes:
    """Read a part of `runs` for no more than `Outcomes`; of a sealed one every byte is read, and proved.

    Raises:
        UNREADABLE: as `pieces`, and if it is not what was written.
    """
    _refuse_strange(part)
    said = read(enclosure(part))
    return _joined(outcomes_of(piece) for piece in pieces(part, columns_of("runs", COLUMNS))) if said is None else said


def _joined(found: Iterable[Outcomes]) -> Outcomes:
    return np.concatenate([NONE, *found])


def schema_version(part: Path) -> int:
    """Return the version of the schema that a part was written with.

    Raises:
        UNREADABLE: one of these, if it is damaged or gone.
    """
    _refuse_strange(part)
    return _version(pq.read_schema(part))


def _version(schema: pa.Schema) -> int:
    """Return the version that a footer names; this one if it names none."""
    named = (schema.metadata or {}).get(b"relusweep.schema_version", b"")
    return int(named) if named.isdigit() else SCHEMA_VERSION


def _extra(table: str, schema: pa.Schema) -> list[pa.Field]:
    """Return the columns that a footer names as the part's own, of numbers or lists of them."""
    named = {*(schema.metadata or {}).get(_EXTRA, b"").decode(errors="replace").split(",")} - {*SCHEMAS[table].names}
    kinds = (pa.float64(), pa.list_(pa.float64()))
    return [each.with_nullable(True) for each in schema if each.name in named and _plain(each.type) in kinds]


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return a type; what a list's values are called differs between memory and Parquet."""
    return pa.list_(kind.value_type) if isinstance(kind, pa.ListType) else kind


def _refuse_strange(part: Path) -> None:
    """Refuse a pipe or a device, for which a reader would wait for ever, or which never ends."""
    if not stat.S_ISREG(mode := part.stat().st_mode) and not stat.S_ISDIR(mode):
        raise pa.ArrowInvalid("it is no file")


def _excess(footer: pq.FileMetaData, size: int) -> str | None:
    """Return why a footer promises more than a part of this size can hold; None if it does not."""
    if footer.num_rows > _MOST_ROWS_A_BYTE * size:
        return f"its footer promises {footer.num_rows} rows in {size} bytes"
    most = max((footer.row_group(group).total_byte_size for group in range(footer.num_row_groups)), default=0)
    return f"its footer promises {most} bytes at a time" if most > _MOST_BYTES else None


def _misfit(table: str, names: list[str], own: Set[str], version: int) -> str | None:
    """Return why columns cannot be those of a table in this version; None if they can.

    A part of an earlier version may lack whatever has been added since. One that names this version may lack
    parameters only: who adds one may have tried it before the version was raised, and its rows are as good.
    """
    if version > SCHEMA_VERSION:
        return f"schema {version}; this version reads up to {SCHEMA_VERSION}. Use the relusweep that wrote it"
    known = SCHEMAS[table].names
    if unknown := sorted(set(names) - own - set(known)):
        return f"its columns are not those of this table: unknown {', '.join(unknown)[:_MOST_SHOWN]}"
    needed = _ALWAYS if version < SCHEMA_VERSION else set(known) - set(DEFAULTS)
    if lacking := [name for name in known if name in needed and name not in names]:
        return f"its columns are not those of this table: it lacks {', '.join(lacking)}"
    return "its columns are not those of this table: one is there twice" if len(set(names)) < len(names) else None


def read_part(part: Path, columns: pa.Schema, *, extra: bool = False) -> pa.Table:
    """Read a part as a whole; `extra` as of `pieces`.

    Raises:
        UNREADABLE: as `pieces`.
    """
    return stack(pieces(part, columns, extra=extra), columns)


def patiently(read: Callable[[Path], T], part: Path) -> T:
    """Read a part, again and again while the file system refuses, for about three seconds.

    Raises:
        UNREADABLE: one of these, if what is in the part is damaged, or the part is gone.
        StoreError: if it cannot be read, whatever is in it: EIO, ESTALE, EACCES, too little memory.
    """

    def once(part: Path) -> T:
        try:
            return read(part)
        except MemoryError as error:
            if _is_damaged(part):  # a size in it was
                raise pa.ArrowInvalid("it differs from what was written") from error
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from error

    return small_file.patiently(once, part)


def _is_damaged(part: Path) -> bool:
    try:
        return is_broken(part)
    except OSError:
        return False


def take_each(parts: Callable[[], Iterable[Path]], take: Callable[[Path], None]) -> dict[Path, str]:
    """Take something from every part, once more from all that are listed anew if one has vanished meanwhile.

    Parts vanish while others are read because they are compacted: then their rows are in another one.

    Args:
        parts: Lists those that are still to be taken.
        take: Reads one; not a second time after it has got through.

    Returns:
        The broken parts, with the reason; those that are gone are not among them.

    Raises:
        StoreError: if the file system refuses to read one.
    """
    broken: dict[Path, str] = {}
    for _ in range(2):
        broken = {}
        for part in parts():
            try:
                patiently(take, part)
            except UNREADABLE as error:
                broken[part] = (str(error).splitlines() or [type(error).__name__])[0][:_MOST_SHOWN]
        there = {part: why for part, why in broken.items() if part.exists()}
        if len(there) == len(broken):
            break
        broken = there
    return broken


def stack(tables: Iterable[pa.Table], columns: pa.Schema) -> pa.Table:
    """Put tables beneath each other; none of them make an empty one."""
    return pa.concat_tables([columns.empty_table(), *tables], promote_options="default")


def distinct(rows: pa.Table, keys: tuple[str, ...]) -> pa.Table:
    """Keep the first of rows with equal keys, in their order."""
    indexed = rows.select(keys).append_column("_row", pa.array(np.arange(len(rows))))
    firsts = indexed.group_by(list(keys), use_threads=False).aggregate([("_row", "min")])["_row_min"]
    return rows if len(firsts) == len(rows) else rows.take(firsts)
