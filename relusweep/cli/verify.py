"""`relusweep verify`."""

from itertools import chain, islice

import typer

from relusweep.cli.arguments import StoreArgument, open_store
from relusweep.cli.store_lines import print_failures, print_lacking
from relusweep.cli.terminal import out, quoted

_MOST_NAMED = 20  # missing runs that are listed


def verify(store: StoreArgument) -> None:
    """Compare what was planned with what is recorded; read every part and check its checksums."""
    from relusweep.sweep import kept
    from relusweep.sweep.store.store import TABLES
    from relusweep.sweep.tally import Tally

    opened, sweep = open_store(store)
    broken = {part: why for table in TABLES for part, why in opened.broken(table).items()}
    data = kept.broken(opened, sweep)
    ledger, tally = opened.ledger(), Tally.of(sweep, opened)
    recorded = ledger.recorded
    tally.look()
    planned, missing = tally.count, tally.missing
    extra = len(recorded - tally.recorded - missing)  # by their ids: a launcher may record meanwhile
    out.print(f"{store}: planned {planned} = recorded {planned - len(missing)} + missing {len(missing)}")
    if extra:
        out.print(f"{extra} recorded runs belong to an earlier spec of this store. relusweep prune {quoted(store)}")
    if doubled := ledger.doubled():
        out.print(
            f"{doubled} rows of runs/ are there twice: reports count them once. relusweep compact {quoted(store)}"
        )
    sound = {"trajectories", "weights"} - {part.parent.name for part in broken}
    lost = {table: count for table in sorted(sound) if (count := len(opened.lost(table, ledger)))}
    for table, count in lost.items():
        out.print(f"{count} recorded runs lack their rows in {table}/. Bring them back, or use another --out.")
    for part, why in (broken | data).items():
        out.print(f"broken: {part}: {why}")
    print_failures(each for each in opened.failures() if not set(each["run_ids"]) <= recorded)  # by now, in other packs
    print_lacking(opened, sweep, ledger)
    lacking = (run.id for run in chain(sweep.expand(), tally.asked()) if run.id in missing)
    for run_id in islice(lacking, min(_MOST_NAMED, len(missing))):
        out.print(f"missing: {run_id}")
    if len(missing) > _MOST_NAMED:
        out.print(f"missing: … and {len(missing) - _MOST_NAMED} more")
    if missing or broken:
        out.print(f"The same `relusweep run` trains what is missing and sets broken parts aside: --out {quoted(store)}")
    if missing or broken or lost or data:
        raise typer.Exit(1)
