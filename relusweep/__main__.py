"""`relusweep` and `python -m relusweep`: the command line."""

import sys

from relusweep.cluster.safe_path import secure


def main() -> int:
    """Run a command, with modules from nowhere but installations; return its exit code."""
    secure()
    from relusweep.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
