"""Mend: set broken parts aside, and see to it that what was in them is trained again."""

from pathlib import Path

from sweep.spec import Measure
from sweep.store import TABLES, Store


def mend(store: Store, measure: Measure) -> dict[Path, tuple[str, Path]]:
    """Read every part with its checksums, and move those that are broken to `aside/`.

    Runs in a broken part of `runs` are missing from then on. Where moments or weights were lost, the runs that lack
    theirs are taken out of `runs`, so that they are missing too.

    Returns:
        For each broken part, what is wrong with it and where it went.
    """
    broken = {part: why for table in TABLES for part, why in store.broken(table).items()}
    moved = dict(zip(broken, store.set_aside(broken), strict=True))
    asked = {"trajectories": measure.every != "end", "weights": measure.save_weights}
    for table in {part.parent.name for part in broken} - {"runs"}:
        if asked[table]:
            runs = store.read("runs", ["status"])[0]
            pairs = zip(runs["run_id"].to_pylist(), runs["status"].to_pylist(), strict=True)
            due = {run_id for run_id, status in pairs if table == "trajectories" or status != "diverged"}
            store.forget(due - set(store.read(table, ["run_id"])[0]["run_id"].to_pylist()))
    return {part: (why, moved[part]) for part, why in broken.items()}
