"""Table: the runs of one or several stores as one data frame, without their trainer's libraries."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from relusweep.analysis.domain import stranger
from relusweep.sweep.dataset import DataError
from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.record import KEYS, RESULTS, SCHEMAS
from relusweep.sweep.run import ENDLESS
from relusweep.sweep.spec import Spec
from relusweep.sweep.spec_error import SpecError
from relusweep.sweep.store.run_ids import RunIds, keys_of
from relusweep.sweep.store.store import Store
from relusweep.sweep.tally import Tally

_ENDS = ("max_steps", "tolerance", "n_test")  # parameters that say how far a training goes and what is seen of it
PARAMETERS = tuple(name for name in SCHEMAS["runs"].names if name not in RESULTS)
_TYPES: dict[str, dict[str, pl.DataType]] = {
    table: {**pl.DataFrame(pl.from_arrow(schema.empty_table())).schema, "store": pl.String()}
    for table, schema in SCHEMAS.items()
}


class TableError(RelusweepError):
    """There is nothing to analyse: the message says where, and what would help."""


@dataclass(frozen=True)
class Source:
    """What one store contributed.

    `rows` counts the readable runs that were taken, before runs that an earlier store also has are dropped, `left_out`
    those that the store's present spec does not name; `broken` gives for every part that could not be read its path and
    the reason; `failures` counts packs that crashed and are not yet redone.
    """

    store: str
    rows: int
    left_out: int
    failures: int
    broken: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Runs, one row each, sorted by `run_id`, and their trajectories, sorted by `run_id` and `step`.

    The columns are those of `sweep.record`, those of extra measures, and `store`, which names where a row was read.
    Null means undefined.
    `repeated` counts the runs that are left out since another one is the same training, and went on for longer;
    `compare` is the parameter whose values are to be compared, if one is.
    """

    runs: pl.DataFrame
    trajectories: pl.DataFrame
    sources: tuple[Source, ...]
    repeated: int = 0
    compare: str | None = None


def load(stores: Sequence[str | Path], moments: Sequence[str] | None = None, *, every_run: bool = False) -> Table:
    """Read the runs that the present specs of stores name; no training counts twice.

    A run that several stores hold counts as the first of them recorded it. Runs that differ in `max_steps`, `tolerance`
    or `n_test` alone are one training, that was looked at when it had gone less far and further: the longest stays.

    Args:
        stores: Directories written by `relusweep run`, at least one.
        moments: Measures of the trajectories that are wanted, all by default: of 10⁷ moments each takes its room.
        every_run: Take what earlier specs named too. All is taken of a store whose spec is missing or not readable.

    Returns:
        Runs and trajectories, with what each store contributed.

    Raises:
        StoreError: if one of them is no store, or one of another schema version.
        TableError: if no run is recorded in any of them, or a row cannot be one of a run.
    """
    opened = [Store.open(path) for path in stores]
    runs, points, sources = [], [], []
    for store in opened:
        wanted = None if every_run else named(store)
        rows, broken, left_out = _read(store, "runs", wanted)
        found, broken_moments, _ = _read(store, "trajectories", wanted, moments)
        runs += rows
        points += found
        unreadable = tuple((str(part), reason) for part, reason in {**broken, **broken_moments}.items())
        sources.append(Source(str(store.path), _count(rows), left_out, len(store.failures()), unreadable))
    if not any(source.rows for source in sources):
        raise TableError(_nothing(sources))
    rows = _union(runs, "runs")
    if found := stranger(rows):
        raise TableError(
            f"{', '.join(each.store for each in sources)}: no row of relusweep's, {found}; expected what "
            "`relusweep run` writes. Set its part aside, and the next run trains it again."
        )
    table = _each_once(Table(rows, _union(points, "trajectories", moments), tuple(sources)))
    pa.default_memory_pool().release_unused()  # what the pieces took, before a study needs it
    return table


def extra_columns(runs: pl.DataFrame) -> list[str]:
    """Return the columns that `[measure] extra` asked for."""
    return [name for name in runs.columns if name not in _TYPES["runs"]]


def named(store: Store) -> RunIds | None:
    """Return the recorded runs that a store's present spec names or asks for; None where it cannot be read."""
    try:
        tally = Tally.of(Spec.read(store.spec_path), store)
    except (DataError, SpecError):  # or a file that it names is neither there nor in the store
        return None
    tally.look()
    return tally.recorded


def _each_once(table: Table) -> Table:
    """Keep of runs that are one training the one that went furthest."""
    ends = [name for name in _ENDS if name in varied(table.runs)]
    if not ends:
        return table
    falls = ~pl.col("schedule").is_in(ENDLESS)  # so that with other max_steps it is another training
    another = pl.when(falls).then("max_steps").otherwise(None).alias("_another")
    best = [pl.col("steps"), pl.col("max_steps"), -pl.col("tolerance"), pl.col("n_test")]
    kept = (
        table.runs.select("run_id", "steps", *PARAMETERS, another)
        .sort(*best, descending=True, maintain_order=True)
        .unique([*(name for name in PARAMETERS if name not in _ENDS), "_another"], keep="first", maintain_order=True)
        .select("run_id")
    )
    if len(kept) == len(table.runs):
        return table
    runs, points = (t.join(kept, "run_id", "semi", maintain_order="left") for t in (table.runs, table.trajectories))
    return Table(runs, points, table.sources, len(table.runs) - len(runs))


def weights(table: Table, run_ids: Sequence[str]) -> pl.DataFrame:
    """Read the weights of a few runs, from whichever store kept them: rows of `sweep.record`, none where none did."""

    def chosen(pieces: Iterator[pa.Table]) -> list[pl.DataFrame]:
        return [pl.DataFrame(pl.from_arrow(piece)).filter(pl.col("run_id").is_in(list(run_ids))) for piece in pieces]

    empty = pl.DataFrame(pl.from_arrow(SCHEMAS["weights"].empty_table()))
    stores = [Store.open(source.store) for source in table.sources]
    found = [part for store in stores for parts in store.each("weights", chosen)[0] for part in parts]
    return pl.concat([empty, *found]).unique("run_id", keep="first", maintain_order=True).sort("run_id")


def varied(runs: pl.DataFrame) -> list[str]:
    """Name the parameters that have more than one value.

    Asks the whole frame: a column that is taken out of it by name is written out, and stays so, though it be one value.
    """
    values = runs.select(pl.col(PARAMETERS).n_unique()).row(0, named=True)
    return [name for name in PARAMETERS if values[name] > 1]


@dataclass(frozen=True, eq=False)
class _Piece:
    """Rows of a part, by column; a column that has one value in all of them is kept as that value."""

    height: int
    varying: dict[str, pl.Series]
    constant: dict[str, object]

    def pop(self, name: str, kind: pl.DataType) -> pl.Series:
        """Return a column, and let it go."""
        if name in self.varying:
            return self.varying.pop(name)
        return pl.Series(name, [self.constant[name]], kind).new_from_index(0, self.height)


def _read(
    store: Store, table: str, ids: RunIds | None, wanted: Sequence[str] | None = None
) -> tuple[list[_Piece], dict[Path, str], int]:
    """Read the rows of these runs; return them, what could not be read and why, and how many others there are."""

    def split(rows: pa.Table) -> _Piece:
        columns = {column.name: column for column in pl.DataFrame(pl.from_arrow(rows))}
        constant = {
            name: column[0]
            for name, column in columns.items()
            if not column.dtype.is_nested() and column.n_unique() == 1
        }
        constant = {name: value for name, value in constant.items() if name not in KEYS[table]}
        varying = {name: column for name, column in columns.items() if name not in constant}
        place: dict[str, object] = {"store": os.fsencode(store.path).decode(errors="replace")}
        return _Piece(len(rows), varying, constant | place)

    def take(rows: Iterator[pa.Table]) -> tuple[list[_Piece], int]:
        found, others = [], 0
        for piece in rows:
            chosen = piece if ids is None else piece.filter(pa.array(ids.find(keys_of(piece["run_id"]))[1]))
            others += len(piece) - len(chosen)
            found += [split(chosen)] if len(chosen) else []
        return found, others

    columns = None if wanted is None else list(wanted)
    taken, broken = store.each(table, take, columns, extra=wanted is None)
    return [piece for part, _ in taken for piece in part], broken, sum(others for _, others in taken)


def _count(found: list[_Piece]) -> int:
    return pl.concat([piece.varying["run_id"] for piece in found]).n_unique() if found else 0


def _union(found: list[_Piece], table: str, wanted: Sequence[str] | None = None) -> pl.DataFrame:
    """Stack pieces, keep the first of rows with equal keys, and sort: the order of parts and stores leaves no trace.

    Of a sweep's many parameters few vary; the others stay one value, which takes no memory in the rows. Those that do
    are stacked one after the other, and the pieces emptied, so that the table is never in memory twice.
    """
    named = {*_TYPES[table]} if wanted is None else {*KEYS[table], *wanted, "store"}
    types = {name: kind for name, kind in _TYPES[table].items() if name in named}
    if not found:
        return pl.DataFrame(schema=types)
    types |= _extra(found, {*_TYPES[table]})
    order = _order(found, KEYS[table])
    values = {name: {piece.constant.get(name, piece) for piece in found} for name in types}
    shared = {name: pl.lit(each.pop(), types[name]) for name, each in values.items() if _is_value(each)}
    varying = [
        pl.concat([piece.pop(name, kind) for piece in found]).gather(order)
        for name, kind in types.items()
        if name not in shared
    ]
    return pl.DataFrame(varying).with_columns(**shared).select(*types)


def _extra(found: list[_Piece], known: set[str]) -> dict[str, pl.DataType]:
    """Return the columns that some pieces have beyond the table's, and make them null in the others."""
    names = sorted({name for piece in found for name in (*piece.varying, *piece.constant)} - known)
    of_lists = {name for piece in found for name, column in piece.varying.items() if column.dtype.is_nested()}
    for piece in found:
        piece.constant.update(dict.fromkeys(name for name in names if name not in piece.varying | piece.constant))
    return {name: pl.List(pl.Float64()) if name in of_lists else pl.Float64() for name in names}


def _is_value(values: set[object]) -> bool:
    """Return whether all pieces have one constant value; a piece stands for a column that varies in it."""
    return len(values) == 1 and not any(isinstance(value, _Piece) for value in values)


def _order(found: list[_Piece], keys: tuple[str, ...]) -> pl.Series:
    rows = pl.concat([pl.DataFrame([piece.varying[key] for key in keys]) for piece in found])
    rows = rows.with_row_index("_row").sort(keys, maintain_order=True)
    if rows.select(keys).n_unique() < len(rows):
        rows = rows.unique(keys, keep="first", maintain_order=True)
    return rows["_row"]


def _nothing(sources: list[Source]) -> str:
    names = ", ".join(source.store for source in sources) or "no store given"
    broken = sum(len(source.broken) for source in sources)
    others = sum(source.left_out for source in sources)
    cure = "See `relusweep verify` for the broken parts" if broken else "Train with `relusweep run` first"
    if others:
        cure = f"{others} runs of earlier specs are recorded; --all takes them"
    unreadable = f" and {broken} broken {'part' if broken == 1 else 'parts'}" if broken else ""
    return f"{names}: nothing to report, got 0 recorded runs{unreadable}; expected at least one. {cure}."
