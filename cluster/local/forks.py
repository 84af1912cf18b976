"""Forks: workers are copies of a process that has loaded everything, and begins to while the launcher still loads."""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import ModuleType

from relusweep.cluster.host.cores import own_cores
from relusweep.cluster.host.safe_path import Secured
from relusweep.cluster.host.signals import blocked
from relusweep.sweep.kernels.jit.private import weakness

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")  # a launcher's own fork would lack its threads
_LONGEST = 70  # bytes of a folder in whose folders sockets can be


def prepare(workers: int | None) -> None:
    """Load ahead, while the launcher loads the same, where there will be several workers."""
    if (workers or own_cores()) > 1:
        load_ahead()


def load_ahead() -> None:
    """Begin to load what workers need in a process of its own; takes a moment, and the load a second or two."""
    CONTEXT.set_forkserver_preload(["relusweep.cluster.local.pool"])
    _make_folder_of_sockets()
    with Secured():
        resource_tracker.ensure_running()  # what it starts lifts the block below
        with blocked([signal.SIGINT]):  # inherited: Ctrl-C is the launcher's to answer
            forkserver.ensure_running()


def _make_folder_of_sockets() -> None:
    """Make the folder of multiprocessing's sockets; what comes through them is unpickled, and has our environment.

    In /tmp where TMPDIR is too long, since a kernel takes 107 letters, or where another user could put a folder of his
    in the place of ours.
    """
    folder = tempfile.gettempdir()
    try:
        if len(os.fsencode(folder)) > _LONGEST or weakness(Path(folder)):
            tempfile.tempdir = "/tmp"
        util.get_temp_dir()
    finally:
        tempfile.tempdir = folder


@contextmanager
def nameless() -> Iterator[None]:
    """Hide the launcher's main module from multiprocessing, which would run it again in every worker, and its path."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        with Secured():
            yield
    finally:
        sys.modules["__main__"] = main


def adopt(environment: Mapping[str, str]) -> None:
    """Take over the launcher's environment: a fork has that of the moment when loading began."""
    os.environ.clear()
    os.environ.update(environment)
