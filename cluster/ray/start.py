"""Start: what `slurm/ray_cluster.sbatch` runs. It makes the path safe before anything is imported."""

import sys

from relusweep.cluster.host.safe_path import secure


def main(arguments: list[str]) -> int:
    """Make a Ray cluster of the job's nodes and run a sweep on it; return the job's exit code."""
    secure()
    from relusweep.cluster.ray.job import main as run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
