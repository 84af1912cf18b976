"""Signals: those that ask a process to write its states and stop, and who answers them for a while."""

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP comes when a terminal is closed, and not to those who asked to go on without one (nohup).
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], object]

_IMPORT_SECONDS = 0.01  # after which a signal that came during an import comes again
_came = threading.Event()  # whether a stop signal has been answered: this process is leaving


def answer(handler: Handler) -> None:
    """Have a function called when a stop signal comes, from now on; signals that come meanwhile are not lost."""

    def called(number: int, frame: FrameType | None) -> None:
        _came.set()
        handler(number, frame)

    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, called)


def answer_first() -> None:
    """Have the first stop signal interrupt this process as Ctrl-C does, wherever no other answer has been chosen.

    From its first moment on, while what takes long is still being loaded. Later ones change nothing: it is leaving.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt this process, unless it is leaving already; a moment later where a module is being imported.

    Code around an import may catch whatever is raised, and then nothing would come of the signal.
    """
    if _came.is_set():
        return
    if _is_importing(frame):
        again = threading.Timer(_IMPORT_SECONDS, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return
    _came.set()
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def ignore() -> None:
    """Ignore the stop signals from now on, as do the commands that this process starts."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


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
def answered(handler: Handler) -> Iterator[None]:
    """Have a function called when a stop signal comes meanwhile."""
    with restored():
        answer(handler)
        yield


@contextmanager
def blocked(numbers: Collection[int] = STOP_SIGNALS) -> Iterator[None]:
    """Keep signals from the processes that this thread starts meanwhile, and from those that they start, for good."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
