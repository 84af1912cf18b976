"""Taken over: runs that had ended before a smaller max_steps are recorded under a larger one, as they were."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from relusweep.sweep import extra
from relusweep.sweep.longer import lengths, longer_id
from relusweep.sweep.pack import MAX_RUNS, pack_id
from relusweep.sweep.record import KEYS, SCHEMAS
from relusweep.sweep.run import PARAMETERS
from relusweep.sweep.spec import Measure, Spec
from relusweep.sweep.store.lease import is_shared, leased
from relusweep.sweep.store.part import columns_of, distinct, pieces, read_part, stack, take_each
from relusweep.sweep.store.run_ids import MergedIds, RunIds
from relusweep.sweep.store.store import Store
from relusweep.sweep.train import CHECK_STEPS

_ENDED = pa.array(["converged", "diverged"])
MEASURES = b"relusweep.measures"  # key in a footer
_SHORTER = "_shorter"  # what a run was called
_TOGETHER = 8 * MAX_RUNS  # rows in memory as Python's values


def shorter(spec: Spec, store: Store, missing: RunIds) -> tuple[set[str], set[str]]:
    """Return which missing runs are recorded under a smaller max_steps: those that had ended, and those that had not.

    Of the former rows are taken over, if all is there that is asked for; the latter go on where there is a state.
    """
    steps, ended, spent = lengths(spec), set[str](), set[str]()

    def take(part: Path) -> None:
        few = read_part(part, columns_of("runs", ["max_steps", "status", "steps"]))
        if not pc.any(pc.less(few["max_steps"], max(steps, default=0))).as_py():
            return
        for piece in pieces(part, columns_of("runs", [*PARAMETERS, "status", "steps"])):
            rows = piece.filter(pc.less(piece["max_steps"], max(steps)))
            had_ended = _is_ended(rows, steps).to_pylist()
            for values, had in zip(rows.select(PARAMETERS).to_pylist(), had_ended, strict=True):
                ids = {longer_id(values, max_steps) for max_steps in steps}
                (ended if had else spent).update(each for each in ids if each is not None and each in missing)

    former = store.parts() if missing and steps else []
    take_each(lambda: [former.pop() for _ in range(len(former))], take)
    return ended, spent - ended


def take_over(spec: Spec, store: Store, missing: RunIds, since: float) -> int:
    """Record runs that had ended before a smaller max_steps under the larger one too; return how many.

    Args:
        spec: What is to be trained.
        store: Where it is recorded.
        missing: Runs that are not.
        since: A moment of the store's clock before that was looked up.

    Raises:
        StoreError: if the store cannot be written.
    """
    steps, count, former = lengths(spec), 0, store.parts()
    seen = MergedIds(), set[Path]()
    if not missing:
        return 0
    sources = spec.measure.sources

    def take(part: Path) -> None:
        nonlocal count
        known = not sources or sources.items() <= measures_in(part).items()  # else others may have had the names
        for rows in _ended_in(part, steps, missing, spec.measure, known=known):
            count += _record(store, _promised(spec.measure, store, part, rows), spec.measure, since, *seen)

    take_each(lambda: [former.pop() for _ in range(len(former))], take)
    return count


def _ended_in(part: Path, steps: list[int], missing: RunIds, measure: Measure, *, known: bool) -> Iterator[pa.Table]:
    """Yield rows of a part under the names of missing runs, some at a time, all with one max_steps.

    The column `_shorter` is what they were called; `known` says that the functions of the user's are those asked for.
    """
    few = read_part(part, columns_of("runs", ["max_steps", "status", "steps"]))
    if not pc.any(_is_ended(few, steps)).as_py():
        return
    for piece in pieces(part, SCHEMAS["runs"], extra=True):
        ended = piece.filter(_is_ended(piece, steps))
        for first in range(0, len(ended), _TOGETHER):
            rows = ended.slice(first, _TOGETHER)
            values, diverged = rows.select(PARAMETERS).to_pylist(), pc.equal(rows["status"], "diverged").to_numpy()
            measured = diverged | known & np.all([_has(rows, name) for name in ("loss", *measure.extra)], 0)
            for max_steps in steps:
                ids = [longer_id(each, max_steps) for each in values]
                wanted = measured & [each is not None and each in missing for each in ids]
                if wanted.any():
                    yield _named(rows, ids, max_steps).filter(pa.array(wanted))


def measures_in(part: Path) -> dict[str, str]:
    """Return the sources of the functions of the user's that measured a part's rows, by name; none of a merged part."""
    try:
        found = json.loads(pq.read_schema(part).metadata[MEASURES])
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_ended(rows: pa.Table, steps: list[int]) -> pa.ChunkedArray:
    """Return which rows are of runs that had ended at a check which a longer one has too."""
    checked = pc.multiply(pc.divide(rows["steps"], CHECK_STEPS), CHECK_STEPS)
    ended = pc.and_(pc.is_in(rows["status"], _ENDED), pc.less(rows["max_steps"], max(steps, default=0)))
    return pc.and_(ended, pc.equal(rows["steps"], checked))


def _has(rows: pa.Table, name: str) -> np.ndarray:
    """Return which rows have something of a measure: a column of every row, or an extra one."""
    columns = [name] if name in SCHEMAS["runs"].names else extra.columns_of(name, rows.column_names)
    there = [pc.is_valid(rows[each]).to_numpy() for each in columns if each in rows.column_names]
    return np.any([np.zeros(len(rows), bool), *there], 0)


def _named(rows: pa.Table, ids: list[str | None], max_steps: int) -> pa.Table:
    named = rows.append_column(_SHORTER, rows["run_id"])
    return _replaced(_replaced(named, "run_id", ids), "max_steps", [max_steps] * len(ids))


def _replaced(rows: pa.Table, name: str, values: object) -> pa.Table:
    place = rows.schema.get_field_index(name)
    field = rows.schema.field(place)
    return rows.set_column(place, field, pa.array(values, field.type))


def _promised(measure: Measure, store: Store, part: Path, rows: pa.Table) -> dict[str, pa.Table]:
    """Return the tables of those rows of which all is recorded that is asked for."""
    rows = distinct(rows, ("run_id",))
    asked = np.array(measure.moments(rows["max_steps"][0].as_py()), np.int64)
    expected, there = asked.searchsorted(rows["steps"], "right"), np.full(len(rows), True)
    tables = {table: SCHEMAS[table].empty_table() for table in ("trajectories", "weights")}
    if expected.any():
        found = _of(store, "trajectories", part, rows)
        tables["trajectories"] = found.filter(pc.is_in(found["step"], pa.array(asked)))
        counts = Counter(tables["trajectories"]["run_id"].to_pylist())
        there &= expected == [counts[run_id] for run_id in rows["run_id"].to_pylist()]
        if measure.save_weights == "moments":
            there &= expected == 0
    saved = np.full(len(rows), False)
    if measure.save_weights:
        saved = pc.fill_null(rows["weights_saved"], False).to_numpy()
        there &= saved | pc.equal(rows["status"], "diverged").to_numpy()
        tables["weights"] = _of(store, "weights", part, rows) if saved.any() else tables["weights"]
    rows = _replaced(_replaced(rows, "moments", expected), "weights_saved", saved)
    return {"runs": rows.filter(pa.array(there)).drop_columns(_SHORTER)} | tables


def _of(store: Store, table: str, part: Path, rows: pa.Table) -> pa.Table:
    """Return the rows of another table, under the names that their runs have now; they lie beside that part, or not."""
    shorter = rows[_SHORTER].combine_chunks()

    def among(found: Iterator[pa.Table]) -> list[pa.Table]:
        return [piece.filter(pc.is_in(piece["run_id"], shorter)) for piece in found]

    beside = store.path / table / part.name
    if beside.exists():  # a pack's tables have one name, until they are compacted
        found = among(pieces(beside, SCHEMAS[table]))
    else:
        found = [piece for each in store.each(table, among)[0] for piece in each]
    whole = distinct(stack(found, SCHEMAS[table]), KEYS[table])
    names = rows["run_id"].combine_chunks().take(pc.index_in(whole["run_id"].combine_chunks(), shorter))
    return whole.set_column(0, "run_id", names)


def _record(
    store: Store, tables: dict[str, pa.Table], measure: Measure, since: float, recorded: MergedIds, read: set[Path]
) -> int:
    """Record runs, as a worker does who has trained them; leave out those that others train, or have recorded."""
    count = 0
    for first in range(0, len(tables["runs"]), MAX_RUNS):
        ids = {*tables["runs"]["run_id"].slice(first, MAX_RUNS).to_pylist()}
        with leased(store, name := pack_id(ids), ids) as lease:
            if lease is None or is_shared(store, name, ids):
                continue
            recorded.add(store.recorded_since(since, read))
            if left := ids - recorded.among(ids):
                few = {key: table.filter(pc.is_in(table["run_id"], pa.array(left))) for key, table in tables.items()}
                store.write(name, few, measure.footer(), lease.drafts)
                count += len(left)
    return count
