"""Folder of a Ray cluster of ours on this machine, with its sockets and logs; only its owner enters it."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relusweep.sweep.kernels.jit.private import weakness

RAYS = "ray"  # within our folder, which only its owner enters: Ray lets all users write into its own
_LONGEST_FOLDER = 44  # Ray's sockets lie some 60 characters deeper, and 107 are allowed
_ABANDONED_SECONDS = 60  # a folder without a lock is being made, or its maker was killed


@contextmanager
def folder() -> Iterator[Path]:
    """Yield a folder with a short name for Ray's sockets and logs; those of killed launchers go."""
    base = Path(tempfile.gettempdir())
    if not is_short(base) or weakness(base):  # another user could put a folder of his in the place of ours
        base = Path("/tmp")
    _remove_abandoned(base)
    home = Path(tempfile.mkdtemp(prefix="relusweep-", dir=base))
    try:
        with open(home / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process, however that ends
            yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def is_short(base: Path) -> bool:
    """Return whether a folder of ours in this one is not too deep for Ray's sockets."""
    return len(str(base / "relusweep-12345678" / RAYS)) <= _LONGEST_FOLDER


def _remove_abandoned(base: Path) -> None:
    for left in base.glob("relusweep-*"):
        try:
            if left.stat().st_uid != os.getuid() or time.time() - left.stat().st_mtime < _ABANDONED_SECONDS:
                continue
            with open(left / "lock", "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        except OSError:
            continue  # it is in use
