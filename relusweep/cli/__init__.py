"""The command line: a file a command, which loads the rooms that it needs when it is called.

Exit codes: 0 done; 1 some runs failed or are missing; 2 misuse, named in one line; 130 stopped by a signal.
"""

import gc
import os
import sys

import typer

from relusweep.cli.cancel import cancel
from relusweep.cli.compact import compact
from relusweep.cli.doctor import doctor
from relusweep.cli.export import export
from relusweep.cli.plan import plan
from relusweep.cli.prune import prune
from relusweep.cli.replay import replay
from relusweep.cli.report import report
from relusweep.cli.run import run
from relusweep.cli.status import status
from relusweep.cli.terminal import err, show_what_can_be_shown
from relusweep.cli.verify import verify
from relusweep.cli.watch import watch
from relusweep.sweep.errors import RelusweepError

__all__ = ["app", "main"]

_STOPPED = 130  # exit code after Ctrl-C and the other stop signals

app = typer.Typer(
    name="relusweep",
    help="Train thousands of tiny ReLU networks as one tensor program, and test what theory says of their minima.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (plan, run, status, watch, cancel, verify, compact, prune, report, replay, export, doctor):
    app.command()(command)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    show_what_can_be_shown()
    gc.set_threshold(50_000)  # what loads torch makes many objects and no garbage: a fifth of its time
    try:
        code: object = app(given or ["--help"], prog_name="relusweep", standalone_mode=False)
        if code == _STOPPED:  # typer turns an interrupt into its exit code
            raise KeyboardInterrupt
    except typer.TyperException as error:
        err.print(f"relusweep: {error.format_message()}")
        return 2
    except typer.Abort as abort:  # typer takes every EOFError for Ctrl-D, and no command of ours asks for anything
        raise (abort.__cause__ or abort) from None
    except KeyboardInterrupt:
        err.print("relusweep: stopped; what was in training is kept. The same command goes on from there.")
        return _STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output went away
        return 0
    except RelusweepError as error:
        err.print(f"{type(error).__name__}: {error}".replace("\n", "\\n"))
        return 2
    except OSError as error:
        if error.filename is None:
            raise  # no file of the user's: a fault of ours, whose trace we need
        line = f"relusweep: {error.filename}: {error.strerror}. Correct it, then run the same command again."
        err.print(line.replace("\n", "\\n"))
        return 2
    ended = code if isinstance(code, int) else 0
    return ended if given else 2  # no command is no use
