"""Atomic: files written whole or not at all, and the message of an error when the file system refuses."""

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relusweep.sweep.errors import RelusweepError


class StoreError(RelusweepError):
    """A store cannot be used as it is: the message names the place, what is wrong and the cure."""


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one line that names the path and the cure.

    Raises:
        StoreError: in place of any `OSError` in the body.
    """
    cures = {
        "ENOSPC": "the disk is full; expected room for the next part. Free some space",
        "EDQUOT": "your quota is used up; expected room for the next part. Free some space",
        "EROFS": "the file system is read-only; expected a writable directory. Choose another --out",
        "EACCES": "permission denied; expected a directory of yours. Choose another --out",
        "EPERM": "permission denied; expected a directory of yours. Choose another --out",
        "ENOTDIR": "a file stands where a directory is needed. Choose another --out",
    }
    try:
        yield
    except OSError as error:
        code = os.strerror(error.errno) if error.errno else str(error)
        cure = cures.get(errno.errorcode.get(error.errno or 0, ""), f"{code}. Correct it")
        raise StoreError(f"{path}: {cure}, then run the same command again; what is recorded is safe.") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync and rename what was written there, on failure remove it.

    The name begins with a dot: dataset readers skip it, and a killed writer leaves nothing that looks recorded.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write a small file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
