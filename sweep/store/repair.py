"""Repair: set broken parts aside, so that what was in them is trained again."""

from pathlib import Path

from relusweep.sweep.record import promised
from relusweep.sweep.store.store import TABLES, Store


def repair(store: Store) -> dict[Path, tuple[str, Path]]:
    """Read every part with its checksums, and move those that are broken to `aside/`.

    Runs in a broken part of `runs` are missing from then on. Runs whose moments or weights were in a broken part are
    taken out of `runs`, so that they are missing too; their old part is kept aside as well.

    Returns:
        For each broken part, what is wrong with it and where it went.
    """
    broken = {part: why for table in TABLES for part, why in store.broken(table).items()}
    moved = dict(zip(broken, store.set_aside(broken), strict=True))
    for table in {part.parent.name for part in broken} - {"runs"}:
        store.forget(store.run_ids("runs", promised(table)) - store.run_ids(table))
    return {part: (why, moved[part]) for part, why in broken.items()}
