"""Terminal: where commands print, and how a path is written for a line that is to be copied."""

import io
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from rich.console import Console


class _Stream:
    """Standard output or standard error, as long as it can be written: a display must not end a training.

    On a full disk, or in a terminal that was closed, what would be shown is dropped. Where the reader went away, as
    `head` does, the command is stopped as by a signal: if it trains, its states are written first.
    """

    def __init__(self, name: str) -> None:
        self.stream_name = name

    def __getattr__(self, name: str) -> Any:
        stream = getattr(sys, self.stream_name)
        return getattr(getattr(stream, "rich_proxied_file", stream), name)  # a live display stands before it

    def write(self, text: str) -> int:
        """Write text, or drop it."""
        return self._tried("write", text) or 0

    def flush(self) -> None:
        """Have it written, or dropped."""
        self._tried("flush")

    def _tried(self, name: str, *given: str) -> Any:
        if getattr(sys, self.stream_name) is None:  # it was closed before we began
            return None
        try:
            return self.__getattr__(name)(*given)
        except BrokenPipeError:
            self._drop()
            from relusweep.cluster.host.signals import interrupt

            if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, interrupt):
                raise SystemExit(0) from None
            os.kill(os.getpid(), signal.SIGTERM)
        except (OSError, ValueError):  # a closed file
            self._drop()
        return None

    def _drop(self) -> None:
        """Send to nowhere what the stream still holds, and all that comes: Python writes it at its end."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1 if self.stream_name == "stdout" else 2)


_UNSEEN = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))} | {
    code: f"\\u{code:04x}" for code in (*range(0x200E, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}  # what moves a terminal's cursor, colours what follows, or turns its direction


def seen(text: str) -> str:
    """Return a text in which letters that a terminal obeys, rather than shows, are named; lines and tabs stay.

    Names of files, and what other programs and stores say, may hold any.
    """
    return text.translate(_UNSEEN)


class _Console(Console):
    def print(self, *objects: Any, **how: Any) -> None:
        super().print(*(seen(each) if isinstance(each, str) else each for each in objects), **how)


def _console(name: str) -> Console:
    stream: Any = _Stream(name)
    is_terminal = getattr(sys, name) is not None and getattr(sys, name).isatty()  # whatever FORCE_COLOR says
    return _Console(
        file=stream, force_terminal=is_terminal, highlight=False, soft_wrap=True, markup=False, emoji=False
    )  # fmt: skip


out, err = _console("stdout"), _console("stderr")


def show_what_can_be_shown() -> None:
    """Have letters that the terminal does not know replaced."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def quoted(path: Path) -> str:
    """Return a path as a shell reads it."""
    return shlex.quote(str(path))
