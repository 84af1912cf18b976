"""Prune: runs that a store's spec names no more, and how they leave its tables."""

from pathlib import Path

from relusweep.sweep import states
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.repair import forget, set_aside
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import TABLES, Store


def unnamed(store: Store, named: RunIds) -> dict[str, RunIds]:
    """Return of each table the runs that have rows there, and are not among those that are named."""
    return {table: store.run_ids(table) - named for table in TABLES}


def unnamed_states(store: Store, named: RunIds) -> list[Path]:
    """Return the kept states of packs of which no run is named; none while runs are missing: these may go on there."""
    if named - store.recorded():
        return []
    return [path for path, each in states.kept(store) if not named.among(each.ids).any()]


def prune(store: Store, named: RunIds) -> None:
    """Take out of all tables what is not named, and such states. The parts that had such rows are kept in `aside/`.

    Killed between any two steps, it has lost nothing, and the next one finishes it.

    Raises:
        StoreError: if a pack may be in training, or its directory cannot be written.
    """
    if leases := [*(store.path / "claims").glob("[!.]*.json")]:
        raise StoreError(
            f"{leases[0]}: a pack may be in training; expected none, since its runs may be another spec's. "
            "Wait for it; what a killed launcher left, the next `relusweep run` takes over."
        )
    set_aside(store, unnamed_states(store, named))
    for table, run_ids in unnamed(store, named).items():  # `runs` first: what it promises is there until then
        forget(store, run_ids, table)
