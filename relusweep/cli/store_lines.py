"""Store lines: what several commands say of a store: packs that failed, and runs without moments or weights."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from relusweep.cli.terminal import out

if TYPE_CHECKING:
    from relusweep.sweep.spec import Spec
    from relusweep.sweep.store.files import Failure
    from relusweep.sweep.store.ledger import Ledger
    from relusweep.sweep.store.store import Store


def print_failures(failures: "Iterable[Failure]") -> None:
    """Name the packs of some failure files, each with its host and error."""
    from relusweep.cluster.progress import failed_packs

    packs = ((each["pack_id"], len(each["run_ids"]), f" on {each['host']}: {each['error']}") for each in failures)
    for line in failed_packs(packs):
        out.print(line)


def print_lacking(store: "Store", spec: "Spec", ledger: "Ledger | None" = None) -> None:
    """Count the runs that were recorded before the spec asked for moments or weights."""
    moments, weights = spec.measure.every != "end", bool(spec.measure.save_weights)
    if not (moments or weights):
        return
    for table, count in (ledger or store.ledger()).lacking(moments, weights).items():
        out.print(f"{count} runs were recorded before [measure] asked for {table}; for theirs, use another --out")
