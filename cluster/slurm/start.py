"""Start: what SLURM runs for a task of an array. It answers signals before it loads what takes long on a slow disk."""

import sys

from relusweep.cluster.host.safe_path import secure


def main(path: str, first: str) -> None:
    """Train what is left of a task's packs, or be queued again.

    Args:
        path: Where the submission lies.
        first: Number of the first task of the array that this job belongs to.
    """
    secure()
    from relusweep.cluster.host.signals import answer

    came: list[int] = []
    # without a handler each of them would be the end of the job: as a failed one it would not come back
    answer(lambda number, _: came.append(number))
    from relusweep.cluster.slurm.array_task import run

    run(path, first, came)


if __name__ == "__main__":
    main(*sys.argv[1:])
