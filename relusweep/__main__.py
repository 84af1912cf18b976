"""`relusweep` and `python -m relusweep`: the command line."""

import os
import sys

from relusweep.cluster.host.safe_path import secure


def main() -> int:
    """Run a command, with modules from nowhere but installations; return its exit code."""
    try:
        os.getcwd()
    except OSError as error:  # it was deleted, and nothing would be found from here
        print(f"relusweep: the current folder: {error.strerror}. Change to another one.", file=sys.stderr)
        return 2
    secure()
    from relusweep.cluster.host.signals import answer_first, ignore

    try:
        answer_first()
        from relusweep.cli import main as command

        return command()
    except KeyboardInterrupt:  # while that was being loaded
        print("relusweep: stopped before anything was begun.", file=sys.stderr)
        return 130
    finally:
        ignore()  # Python would take our answers away before it ends


if __name__ == "__main__":
    sys.exit(main())
