"""Silence: for how long the launchers of a scene have shown nothing, neither in what they print nor in the store."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

MOST_SECONDS = 60.0  # that a launcher may be silent
_LOOK_SECONDS = 0.5
_FOLDERS = ("progress", "claims", "runs")  # of a store: what is written while something is trained


class Silence:
    """Watches a log and a store from `with` to its end; `longest` is in seconds."""

    def __init__(self, log: Path, store: Path, is_running: Callable[[], bool]) -> None:
        """Make a watcher.

        Args:
            log: What launchers print to.
            store: Where they train.
            is_running: Whether there is a launcher that could show something.
        """
        self.log, self.store, self.is_running = log, store, is_running
        self.longest = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Silence":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        shown, since = self._signs(), time.monotonic()
        while not self._over.wait(_LOOK_SECONDS):
            now, seen = time.monotonic(), self._signs()
            if seen != shown or not self.is_running():
                shown, since = seen, now
            self.longest = max(self.longest, now - since)

    def _signs(self) -> set[tuple[str, int, int]]:
        return {sign for path in self._files() if (sign := _sign(path))}

    def _files(self) -> Iterator[Path]:
        yield self.log
        for folder in (self.store / name for name in _FOLDERS):
            yield folder
            try:
                yield from (folder / name for name in os.listdir(folder) if name.endswith(".json"))
            except OSError:
                continue


def _sign(path: Path) -> tuple[str, int, int] | None:
    """Return what changes of a file when something is written there; None if it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return str(path), stat.st_mtime_ns, stat.st_size
