"""Announcement: a line now and then while something goes on that blocks all else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS = 20.0  # between two lines


@contextmanager
def announced(line: str, say: Callable[[str], None]) -> Iterator[None]:
    """Report at intervals that something still goes on; nothing if it is soon over."""
    over = threading.Event()

    def report() -> None:
        while not over.wait(_SECONDS):
            say(line)

    reporting = threading.Thread(target=report, daemon=True)
    reporting.start()
    try:
        yield
    finally:
        over.set()
        reporting.join()
