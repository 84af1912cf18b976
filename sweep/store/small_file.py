"""Small file: read within a bound, and only if it is a file: neither a pipe nor a device keeps a command waiting.

And every file with patience: a file system that refuses a read says nothing about what would have been read.
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from relusweep.sweep.store.atomic import StoreError

MOST_BYTES = 2**26
_WAITS = (0.1, 0.2, 0.4, 0.8, 1.6)  # seconds, after a read that the file system refused
# Errors that say what is there; those of Arrow, and of ours, about what was read have no number.
_OF_CONTENT = {None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP}
T = TypeVar("T")


def content_of(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return what is in a file.

    Raises:
        OSError: if it cannot be read, is no regular file, or has more than `most` bytes.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise IsADirectoryError(f"{path} is no regular file")
        content = file.read(min(most, found.st_size) + 1)  # as many bytes are taken as are asked for
    if len(content) > most:
        raise OSError(f"{path} has more than {most} bytes")
    return content


def patiently(read: Callable[[Path], T], path: Path) -> T:
    """Read a file, again and again while the file system refuses, for about three seconds.

    Raises:
        OSError: if there is none.
        StoreError: if it cannot be read, whatever is in it: EIO, ESTALE, EACCES, too little memory.
    """
    why = ""
    for wait in _WAITS:
        try:
            return read(path)
        except OSError as error:
            if error.errno in _OF_CONTENT:
                raise
            why = os.strerror(error.errno or 0)
        time.sleep(wait)
    raise StoreError(
        f"{path}: cannot be read ({why}); expected a file that can. What is in it is not known, so nothing is trained "
        "or changed: correct that, then run the same command again."
    )
