"""Signals: those that ask a process to write its states and stop, and who answers them for a while."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def answer(handler: Callable[[int, FrameType | None], object]) -> None:
    """Have a function called when a stop signal comes, from now on; signals that come meanwhile are not lost."""
    for number in STOP_SIGNALS:
        signal.signal(number, handler)


@contextmanager
def restored() -> Iterator[None]:
    """Put the handlers of the stop signals back at the end, whoever replaced them meanwhile."""
    old = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def answered(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Have a function called when a stop signal comes meanwhile."""
    with restored():
        answer(handler)
        yield
