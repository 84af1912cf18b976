"""Small file: read within a bound, and only if it is a file: neither a pipe nor a device keeps a command waiting."""

import os
import stat
from pathlib import Path

MOST_BYTES = 2**26


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
