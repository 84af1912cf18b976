"""`relusweep cancel`."""

from relusweep.cli.arguments import StoreArgument
from relusweep.cli.terminal import out


def cancel(store: StoreArgument) -> None:
    """Cancel the SLURM jobs that were submitted for a store, and no others; what is recorded is kept."""
    from relusweep.cluster.slurm.queue import cancel_submissions
    from relusweep.sweep.store.store import Store

    jobs = cancel_submissions(Store.open(store))
    out.print(f"{store}: " + (f"cancelled job(s) {', '.join(jobs)}" if jobs else "no job of it is in the queue"))
