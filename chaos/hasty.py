"""Hasty: `relusweep` as it is, but that it asks SLURM every two seconds and takes short tasks for long enough."""

import sys
from contextlib import suppress

from relusweep.cluster.host.safe_path import secure

_QUEUE_SECONDS = 2.0  # between two calls of squeue: half a minute else
_SETTLE_SECONDS = 1.0
_TASK_SECONDS = 2.0  # the shortest task: ten minutes else
_RUN_SECONDS = 1.0  # that a run is said to take, instead of probing one


def main() -> int:
    """Run a command; return its exit code."""
    secure()
    from relusweep.__main__ import main as command
    from relusweep.cluster.host.signals import answer_first

    answer_first()
    with suppress(KeyboardInterrupt):  # while this was being loaded; the command finds out by itself
        from relusweep.cluster import cost
        from relusweep.cluster.slurm import arrays, queue
        from relusweep.sweep.probe import Cost

        queue.LEAST_SECONDS, queue.SETTLE_SECONDS, arrays.LEAST_SECONDS = _QUEUE_SECONDS, _SETTLE_SECONDS, _TASK_SECONDS
        cost.probe = lambda runs, device: Cost(_RUN_SECONDS / max(run.max_steps for run in runs), 0.0)
        return command()
    print("relusweep: stopped before anything was begun.", file=sys.stderr)
    return 130


if __name__ == "__main__":
    sys.exit(main())
