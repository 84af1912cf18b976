"""Forks: workers are copies of a process that has loaded everything, and begins to while the launcher still loads."""

import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")  # a launcher's own fork would lack its threads


def load_ahead() -> None:
    """Begin to load what workers need in a process of its own; takes a moment, and the load a second or two."""
    CONTEXT.set_forkserver_preload(["cluster.local"])
    forkserver.ensure_running()


def adopt(environment: Mapping[str, str]) -> None:
    """Take over the launcher's environment: a fork has that of the moment when loading began."""
    os.environ.clear()
    os.environ.update(environment)
