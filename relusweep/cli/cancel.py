"""`relusweep cancel`."""

from relusweep.cli.arguments import StoreArgument
from relusweep.cli.terminal import out


def cancel(store: StoreArgument) -> None:
    """Cancel the jobs that were submitted for a store, and no others; what is recorded is kept."""
    from relusweep.cluster.jobs.queue import Queues
    from relusweep.sweep.store.store import Store

    jobs = Queues(Store.open(store)).cancel()
    out.print(f"{store}: " + (f"cancelled job(s) {', '.join(jobs)}" if jobs else "no job of it is in the queue"))
