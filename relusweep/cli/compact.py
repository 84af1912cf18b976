"""`relusweep compact`."""

from relusweep.cli.arguments import StoreArgument
from relusweep.cli.terminal import out


def compact(store: StoreArgument) -> None:
    """Merge the parts of a store into few sorted ones."""
    from relusweep.sweep.store.compaction import compact as merge
    from relusweep.sweep.store.store import Store

    for table, (before, after) in merge(Store.open(store)).items():
        if before:
            out.print(f"{table}: {before} parts → {after}")
