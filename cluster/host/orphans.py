"""Orphans: what a process started, and what that started, ends with it, however many of those between have gone."""

import ctypes
import sys
import time
from contextlib import suppress

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 30.0  # seconds


def adopt_orphans() -> None:
    """Become the parent of whatever is left below us without one, so that we find it; on Linux alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_all_below() -> None:
    """Kill what we started, and nothing else of its kind on this machine; what a kernel does not let go is left."""
    end = time.monotonic() + _PATIENCE
    while (below := psutil.Process().children(recursive=True)) and time.monotonic() < end:
        for process in below:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(below, timeout=1)
