"""`relusweep prune`."""

from typing import Annotated

import typer

from relusweep.cli.arguments import StoreArgument, open_store
from relusweep.cli.terminal import out, quoted


def prune(
    store: StoreArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Set them aside; without, they are only counted.")] = False,
) -> None:
    """Count the runs that the spec of a store names no more, and with --yes set them aside."""
    from relusweep.sweep.store.prune import prune as set_aside
    from relusweep.sweep.store.prune import unnamed
    from relusweep.sweep.store.run_ids import RunIds
    from relusweep.sweep.tally import Tally

    opened, sweep = open_store(store)
    tally = Tally.of(sweep, opened)
    tally.look()
    named = RunIds.of(tally.recorded.keys, tally.missing.keys)
    others = unnamed(opened, named)
    count = len(RunIds.of(*(ids.keys for ids in others.values())))
    if not count:
        out.print(f"{store}: its spec names all runs that are recorded")
        return
    rows = ", ".join(f"{len(ids)} in {table}/" for table, ids in others.items() if ids)
    out.print(f"{store}: {count} runs are named by its spec no more: {rows}")
    if not yes:
        name = quoted(store)
        out.print(f"relusweep report --all {name} shows them, relusweep prune --yes {name} sets them aside")
        return
    set_aside(opened, named)
    out.print(f"set aside: their parts are kept in {store / 'aside'}, which nothing reads; deleting it frees the disk")
