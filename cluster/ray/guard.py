"""Guard: the command that a user typed stays out of Ray's reach, and reports what Ray would do without a word of ours.

A driver that has lost its cluster is ended by a thread of Ray's own, at once, with a line that names no cure. So what
drives Ray is a child of the command, forked before anything is loaded. The command waits for its end, passes signals
on, and takes its exit code over; where the child did not come to an end by itself, it says so in one line.
"""

import atexit
import ctypes
import os
import signal
import sys
from contextlib import suppress

import psutil

from relusweep.cluster.host.orphans import adopt_orphans, end_all_below
from relusweep.cluster.host.signals import answer, blocked

_PR_SET_PDEATHSIG = 1
_DONE = b"."  # from a child that ends by itself


def prepare(workers: int | None) -> None:
    """Guard the command, however many workers it asks for."""
    guard()


def guard() -> None:
    """Return in a child of this process, while this one waits for its end.

    A process that has threads cannot be forked safely: there it returns as if it had not been called.

    Raises:
        SystemExit: in the parent, with the child's exit code.
        BackendError: in the parent, if something else ended the child.
    """
    if psutil.Process().num_threads() > 1:
        return
    for stream in filter(None, (sys.stdout, sys.stderr)):  # none that was closed before we began
        stream.flush()
    parent, (reading, writing) = os.getpid(), os.pipe()
    adopt_orphans()  # a Ray of the child's own that was killed leaves processes which go minutes later
    with blocked():  # a signal that comes now is answered after it
        child = os.fork()
        if child == 0:
            os.close(reading)
            atexit.register(os.write, writing, _DONE)
            _belong_to(parent)
        else:
            os.close(writing)
            answer(lambda number, _: _pass_on(child, number))
    if child:
        try:
            raise SystemExit(_end_of(child, reading))
        finally:
            end_all_below()


def _belong_to(parent: int) -> None:
    """End when the parent does, and get its signals from it alone, each once."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # or a terminal that wants it so stops who writes in the background


def _pass_on(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _end_of(child: int, reading: int) -> int:
    """Wait for a child; return its exit code."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.set_blocking(reading, False)  # whatever the child has forked may hold the other end
    with suppress(BlockingIOError):
        if os.read(reading, 1) == _DONE and code >= 0:
            return code
    from relusweep.cluster.backend import BackendError  # loads what has threads

    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    raise BackendError(
        f"--on ray: the process that drives Ray was ended from outside ({how}), as when the cluster is lost; expected "
        "it to stay until the sweep is done. See above what Ray printed. The same command goes on from the last states."
    )
