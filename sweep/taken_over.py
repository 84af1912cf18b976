"""Taken over: runs that had ended before a smaller max_steps are recorded under a larger one, as they were."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relusweep.sweep import extra
from relusweep.sweep.longer import lengths, longer_id
from relusweep.sweep.pack import MAX_RUNS, pack_id
from relusweep.sweep.record import KEYS, SCHEMAS
from relusweep.sweep.run import PARAMETERS
from relusweep.sweep.spec import Measure, Spec
from relusweep.sweep.store.lease import is_shared, leased
from relusweep.sweep.store.part import columns_of, distinct, read_part, stack, take_each
from relusweep.sweep.store.run_ids import MergedIds, RunIds
from relusweep.sweep.store.store import Store
from relusweep.sweep.train import CHECK_STEPS

_ENDED = pa.array(["converged", "diverged"])
_SHORTER = "shorter"  # what a run was called


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
    steps = lengths(spec) if missing else []
    if not steps or not store.parts():
        return 0
    found: list[pa.Table] = []
    take_each(_new(store), lambda part: found.extend(_ended_in(part, steps, missing, spec.measure)))
    count = 0
    for max_steps in steps:
        rows = stack((each for each in found if each["max_steps"][0].as_py() == max_steps), SCHEMAS["runs"])
        if len(rows):
            count += _record(store, _promised(spec.measure, store, distinct(rows, ("run_id",))), since)
    return count


def _new(store: Store) -> Callable[[], list[Path]]:
    """Return what lists the parts of `runs`, each once."""
    seen: set[Path] = set()

    def listed() -> list[Path]:
        parts = [part for part in store.parts() if part not in seen]
        seen.update(parts)
        return parts

    return listed


def _ended_in(part: Path, steps: list[int], missing: RunIds, measure: Measure) -> Iterator[pa.Table]:
    """Yield rows of a part under the names of missing runs, for each max_steps; `shorter` is what they were called."""
    few = read_part(part, columns_of("runs", ["max_steps", "status", "steps"]))
    ended = pc.and_(pc.is_in(few["status"], _ENDED), pc.less(few["max_steps"], steps[-1]))
    checked = pc.multiply(pc.divide(few["steps"], CHECK_STEPS), CHECK_STEPS)
    ended = pc.and_(ended, pc.equal(few["steps"], checked))  # else it ended where only the shorter run was looked at
    if not pc.any(ended).as_py():
        return
    rows = read_part(part, SCHEMAS["runs"], extra=True).filter(ended)
    if any(extra.columns(name)[0] not in rows.column_names for name in measure.extra):
        return
    values = rows.select(PARAMETERS).to_pylist()
    for max_steps in steps:
        ids = [longer_id(each, max_steps) for each in values]
        named = rows.append_column(_SHORTER, rows["run_id"])
        for name, column in (("run_id", ids), ("max_steps", [max_steps] * len(ids))):
            place = named.schema.get_field_index(name)
            named = named.set_column(place, named.schema.field(place), pa.array(column, named.schema.field(place).type))
        if (wanted := [each is not None and each in missing for each in ids]) and any(wanted):
            yield named.filter(pa.array(wanted))


def _promised(measure: Measure, store: Store, rows: pa.Table) -> dict[str, pa.Table]:
    """Return the tables of those rows of which all is recorded that is asked for."""
    asked = np.array(measure.moments(rows["max_steps"][0].as_py()), np.int64)
    trajectories = _of(store, "trajectories", rows)
    trajectories = trajectories.filter(pc.is_in(trajectories["step"], pa.array(asked)))
    expected, counts = asked.searchsorted(rows["steps"], "right"), Counter(trajectories["run_id"].to_pylist())
    there = expected == [counts[run_id] for run_id in rows["run_id"].to_pylist()]
    weights = SCHEMAS["weights"].empty_table()
    if measure.save_weights == "moments":
        there &= expected == 0
    if measure.save_weights:
        there &= rows["weights_saved"].to_numpy()
        weights = _of(store, "weights", rows)
    place = rows.schema.get_field_index
    rows = rows.set_column(place("moments"), SCHEMAS["runs"].field("moments"), pa.array(expected))
    saved = pa.array(np.full(len(rows), bool(measure.save_weights)))
    rows = rows.set_column(place("weights_saved"), SCHEMAS["runs"].field("weights_saved"), saved)
    rows = rows.filter(pa.array(there)).drop_columns(_SHORTER)
    return {"runs": rows, "trajectories": trajectories, "weights": weights}


def _of(store: Store, table: str, rows: pa.Table) -> pa.Table:
    """Return the rows of another table, under the names that their runs have now."""
    shorter = rows[_SHORTER].combine_chunks()

    def take(pieces: Iterator[pa.Table]) -> list[pa.Table]:
        return [piece.filter(pc.is_in(piece["run_id"], shorter)) for piece in pieces]

    found = stack((piece for part in store.each(table, take)[0] for piece in part), SCHEMAS[table])
    found = distinct(found, KEYS[table])
    names = rows["run_id"].combine_chunks().take(pc.index_in(found["run_id"].combine_chunks(), shorter))
    return found.set_column(0, "run_id", names)


def _record(store: Store, tables: dict[str, pa.Table], since: float) -> int:
    """Record runs, as a worker does who has trained them; leave out those that others train, or have recorded."""
    count, recorded, read = 0, MergedIds(), set[Path]()
    for first in range(0, len(tables["runs"]), MAX_RUNS):
        ids = {*tables["runs"]["run_id"].slice(first, MAX_RUNS).to_pylist()}
        with leased(store, name := pack_id(ids), ids) as lease:
            if lease is None or is_shared(store, name, ids):
                continue
            recorded.add(store.recorded_since(since, read))
            if left := ids - recorded.among(ids):
                few = {key: table.filter(pc.is_in(table["run_id"], pa.array(left))) for key, table in tables.items()}
                store.write(name, few, {}, lease.drafts)
                count += len(left)
    return count
