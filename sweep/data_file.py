"""Data file: a user's points from .npz, .csv or .parquet; whatever is wrong is one line, with row and column.

Sizes are looked at before anything is laid out in memory, and nothing in a file is executed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from relusweep.sweep.array_file import (
    canonical,
    read_arrays,
    reading,
    refuse_infinite,
    refuse_more,
    refuse_rounded,
)
from relusweep.sweep.dataset import DataError, Dataset

TARGET_COLUMN = "y"
_ARRAYS = {"x": 2, "y": 1, "x_test": 2, "y_test": 1}  # dimensions
_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")
_BLOCK_BYTES = 2**24  # of a .csv at one time; no row may be longer


def read(path: Path, x_columns: str | None = None, y_column: str | None = None) -> Dataset:
    """Read all points of a file.

    Args:
        path: A name that ends in .npz, .csv or .parquet.
        x_columns: Of a table: the features, their names with commas between; by default all columns but the target.
        y_column: Of a table: the target, `y` by default.

    Returns:
        All of them, float64; a file without a test set has one of length 0.

    Raises:
        DataError: if they are no finite numbers of fitting shapes, or too many.
    """
    read_kind = READERS.get(path.suffix.lower())
    if read_kind is None:
        raise DataError(f"{path}: unknown kind of file; expected a name that ends in {', '.join(READERS)}.")
    with reading(path, "points"):
        try:
            return read_kind(path, x_columns, y_column)
        except pa.ArrowInvalid as error:
            if found := _RAGGED.search(str(error)):  # Arrow counts the header too
                row, expected, got = map(int, found.groups())
                raise DataError(f"{path}: row {row - 1}: {got} value(s); expected {expected}, as the header.") from None
            raise


# Arrays --------------------------------------------------------------------------------------------------------------


def _arrays(path: Path, x_columns: str | None, y_column: str | None) -> Dataset:
    if x_columns is not None or y_column is not None:
        raise DataError(f"{path}: has arrays, no columns; expected neither x_columns nor y_column. Leave them out.")

    def check(shapes: Mapping[str, tuple[int, ...]], others: list[str]) -> None:
        _refuse_missing(path, list(shapes), others)
        _refuse_shapes(path, shapes)

    found = read_arrays(path, _ARRAYS, check)
    none = np.zeros((0, found["x"].shape[1])), np.zeros(0)
    return Dataset(found["x"], found["y"], found.get("x_test", none[0]), found.get("y_test", none[1]))


def _refuse_missing(path: Path, names: list[str], others: list[str]) -> None:
    wanted = ["x", "y", *(["x_test", "y_test"] if {"x_test", "y_test"} & set(names) else [])]
    for name in wanted:
        if name not in names:
            there = ", ".join(map(repr, sorted(others)))[:200] or "none"
            raise DataError(f"{path}: no array {name!r}, got {there}; expected {', '.join(wanted)}.")


def _refuse_shapes(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if len(shape) != _ARRAYS[name] or min(shape) < 0:
            form = "(rows, d)" if _ARRAYS[name] == 2 else "(rows,)"
            cure = {1: f" Use {name}[:, None].", 2: f" Use {name}[:, 0]."}.get(len(shape), "")
            raise DataError(f"{path}: {name} has the shape {shape}; expected {form}.{cure}")
    for x, y in (("x", "y"), ("x_test", "y_test")):
        if x in shapes and shapes[x][0] != shapes[y][0]:
            raise DataError(f"{path}: {x} has {shapes[x][0]} rows and {y} has {shapes[y][0]}; expected as many.")
    if 0 in shapes["x"]:
        raise DataError(f"{path}: x has the shape {shapes['x']}; expected at least one row and one column.")
    if "x_test" in shapes and shapes["x_test"][1] != shapes["x"][1]:
        raise DataError(f"{path}: x_test has {shapes['x_test'][1]} columns; expected {shapes['x'][1]}, as x.")


# Tables --------------------------------------------------------------------------------------------------------------


def _csv(path: Path, x_columns: str | None, y_column: str | None) -> Dataset:
    options = csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
    with csv.open_csv(path, options) as file:
        names = file.schema.names
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise DataError(f"{path}: one column, {names[0][:80]!r}; expected commas between the columns.")
    if all(map(_is_number, names)):
        raise DataError(f"{path}: no header, the first line is numbers; expected names, one of them {TARGET_COLUMN!r}.")
    chosen = _chosen(path, names, x_columns, y_column)

    def table(kind: pa.DataType) -> pa.Table:
        wanted = csv.ConvertOptions(
            column_types=dict.fromkeys(chosen, kind), include_columns=chosen, null_values=[""], strings_can_be_null=True
        )
        with csv.open_csv(path, options, convert_options=wanted) as file:
            return pa.Table.from_batches(_bounded(path, file, len(chosen)), file.schema)

    try:
        found = table(pa.float64())
    except pa.ArrowInvalid:
        texts = table(pa.string())
        for name in chosen:
            _refuse_text(path, name, texts[name])
        raise
    return _dataset(path, chosen, found)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bounded(path: Path, batches: Iterator[pa.RecordBatch], columns: int) -> Iterator[pa.RecordBatch]:
    """Yield batches until they are more than there is room for."""
    rows = 0
    for batch in batches:
        rows += len(batch)
        refuse_more(path, 8 * rows * columns)
        yield batch


def _refuse_text(path: Path, name: str, cells: pa.ChunkedArray) -> None:
    """Refuse the first cell of a column that is no number."""
    trimmed = pc.utf8_trim_whitespace(cells)
    low, high = 0, len(trimmed)  # all before `low` are numbers; the first that is none, if any, is before `high`
    while high > low:
        middle = (low + high + 1) // 2
        try:
            trimmed.slice(low, middle - low).cast(pa.float64())
            low = middle
        except pa.ArrowInvalid:
            high = middle - 1
    if low < len(trimmed):
        cell = cells[low].as_py()[:40]
        raise DataError(f"{path}: row {low + 1}, column {name!r}: {cell!r} is no number; expected one.")


def _parquet(path: Path, x_columns: str | None, y_column: str | None) -> Dataset:
    with pq.ParquetFile(path) as file:
        chosen = _chosen(path, file.schema_arrow.names, x_columns, y_column)
        for name in chosen:
            kind = file.schema_arrow.field(name).type
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
                raise DataError(f"{path}: column {name!r} holds {kind}; expected numbers. Choose others by x_columns.")
        refuse_more(path, 8 * file.metadata.num_rows * len(chosen))
        batches = _bounded(path, file.iter_batches(2**16, columns=chosen, use_threads=False), len(chosen))
        found = pa.Table.from_batches(batches, pa.schema([file.schema_arrow.field(name) for name in chosen]))
    return _dataset(path, chosen, found)


def _chosen(path: Path, names: list[str], x_columns: str | None, y_column: str | None) -> list[str]:
    """Return the features, and last the target."""
    target = TARGET_COLUMN if y_column is None else y_column
    features = [name for name in names if name != target] if x_columns is None else x_columns.split(",")
    if x_columns is None and "" in features:
        raise DataError(
            f"{path}: a column without a name, as pandas writes its index; expected names. Write the file with "
            "index=False, or name the features by x_columns."
        )
    for name in (*features, target):
        if name not in names:
            there = ", ".join(map(repr, names))[:200]
            cure = "Name it by y_column." if name == target else "Correct x_columns."
            raise DataError(f"{path}: no column {name!r}; expected one of {there}. {cure}")
        if names.count(name) > 1:
            raise DataError(f"{path}: column {name!r} is there twice; expected each name once. Rename one.")
    if not features or target in features or len(set(features)) < len(features):
        raise DataError(
            f"{path}: features {', '.join(map(repr, features))[:200] or 'none'} and target {target!r}; expected one "
            "feature at least, no column twice."
        )
    return [*features, target]


def _cell(name: str, row: int, _: int) -> str:
    return f"row {row}, column {name!r}"


def _dataset(path: Path, chosen: list[str], found: pa.Table) -> Dataset:
    if not len(found):
        raise DataError(f"{path}: no rows under the header; expected points.")
    columns = []
    for name in chosen:
        column = found[name]
        if column.null_count:
            row = pc.index(column.is_null(), True).as_py()
            raise DataError(f"{path}: row {row + 1}, column {name!r}: empty; expected a number.")
        place = partial(_cell, name)
        if pa.types.is_integer(column.type):
            refuse_rounded(path, column.to_numpy(), place)
        columns.append(canonical(column.cast(pa.float64(), safe=False).to_numpy()))
        refuse_infinite(path, columns[-1], place)
    x = np.column_stack(columns[:-1])
    return Dataset(x, columns[-1], np.zeros((0, x.shape[1])), np.zeros(0))


READERS: Mapping[str, Callable[[Path, str | None, str | None], Dataset]] = {
    ".npz": _arrays,
    ".csv": _csv,
    ".parquet": _parquet,
}
