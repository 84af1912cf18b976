"""`relusweep status`."""

from relusweep.cli.arguments import StoreArgument, open_store
from relusweep.cli.store_lines import print_failures
from relusweep.cli.terminal import out


def status(store: StoreArgument) -> None:
    """Say where a sweep stands, once."""
    from relusweep.cluster.jobs.queue import Queues
    from relusweep.cluster.progress import Watcher, sentence
    from relusweep.sweep.tally import Tally

    opened, sweep = open_store(store)
    tally = Tally.of(sweep, opened)
    out.print(sentence(Watcher(tally).look(), None))
    for line in Queues(opened).describe():
        out.print(line)
    print_failures(opened.failures(tally.missing))
