"""`relusweep prune`."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relusweep.cli.arguments import StoreArgument, open_store
from relusweep.cli.terminal import out, quoted

if TYPE_CHECKING:
    import pyarrow as pa

    from relusweep.sweep.store.run_ids import RunIds
    from relusweep.sweep.store.store import Store

_SHOWN = 20  # runs


def prune(
    store: StoreArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Set them aside; without, they are only listed.")] = False,
) -> None:
    """List what the spec of a store names no more, and with --yes set it aside."""
    from relusweep.sweep.store.prune import prune as set_aside
    from relusweep.sweep.store.prune import unnamed, unnamed_states
    from relusweep.sweep.store.run_ids import RunIds
    from relusweep.sweep.tally import Tally

    opened, sweep = open_store(store)
    tally = Tally.of(sweep, opened)
    tally.look()
    named = RunIds.of(tally.recorded.keys, tally.missing.keys)
    others, left = unnamed(opened, named), unnamed_states(opened, named)
    ids = RunIds.of(*(ids.keys for ids in others.values()))
    if not ids and not left:
        out.print(f"{store}: its spec names all runs that are recorded")
        return
    rows = ", ".join(f"{len(ids)} in {table}/" for table, ids in others.items() if ids)
    found = [f"{len(ids)} runs are named by its spec no more: {rows}"] if ids else []
    found += [f"{len(left)} states in states/ are of no run that it names"] if left else []
    out.print(f"{store}: {'; '.join(found)}")
    if not yes:
        _list(opened, others["runs"], left)
        name = quoted(store)
        out.print(f"relusweep report --all {name} shows the runs, relusweep prune --yes {name} sets all of it aside")
        return
    set_aside(opened, named)
    out.print(
        f"set aside: what was found is kept in {store / 'aside'}, which nothing reads; deleting it frees the disk"
    )


def _list(store: "Store", ids: "RunIds", left: list[Path]) -> None:
    from relusweep.sweep.record import DEFAULTS
    from relusweep.sweep.run import PARAMETERS

    few = {*islice(ids, _SHOWN)}

    def chosen(pieces: "Iterator[pa.Table]") -> list[dict[str, object]]:
        found = (piece.filter([each in few for each in piece["run_id"].to_pylist()]) for piece in pieces)
        return [row for piece in found for row in piece.to_pylist()]

    rows = [row for part in store.each("runs", chosen, [*PARAMETERS])[0] for row in part] if few else []
    for row in sorted(rows, key=lambda row: str(row["run_id"])):
        given = {name: row[name] for name in PARAMETERS if row[name] is not None and row[name] != DEFAULTS.get(name)}
        out.print(f"{row['run_id']}  " + ", ".join(f"{name} = {value}" for name, value in given.items()))
    for path in left[:_SHOWN]:
        out.print(path)
    if (more := max(0, len(ids) - _SHOWN) + max(0, len(left) - _SHOWN)) > 0:
        out.print(f"… and {more} more")
