"""`relusweep watch`."""

import time

import typer

from relusweep.cli.arguments import StoreArgument, open_store
from relusweep.cli.terminal import out

_PATIENCE = 10  # seconds without an active worker, before watching ends


def watch(store: StoreArgument) -> None:
    """Follow a sweep until all its runs are recorded; Ctrl-C ends the watching, not the sweep."""
    from relusweep.cluster.jobs.queue import Queues
    from relusweep.cluster.progress import Display, Watcher
    from relusweep.sweep.tally import Tally

    opened, sweep = open_store(store)
    tally, queues, shown, alone = Tally.of(sweep, opened), Queues(opened), list[str](), 0
    try:
        with Display(Watcher(tally), out) as tick:
            tally.look()
            while tally.missing:
                tick()
                lines = [line for line in queues.describe() if not line.endswith(("progress", "starting"))]
                for line in lines if lines != shown else ():
                    out.print(line)
                shown = lines
                time.sleep(1)
                alone = alone + 1 if queues.are_left_alone else 0  # a launcher that submits again takes a while
                tally.look()  # afterwards: what was recorded before they ended is seen
                if tally.missing and alone >= _PATIENCE:
                    out.print(
                        f"{store}: no active worker; {len(tally.missing)} runs left. Next: the same relusweep run"
                    )
                    raise typer.Exit(1)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
