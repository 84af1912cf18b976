"""Atomic: files written whole or not at all, and the message of an error when the file system refuses."""

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from relusweep.sweep.errors import RelusweepError

_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EPERM, errno.EACCES}


class StoreError(RelusweepError):
    """A store cannot be used as it is: the message names the place, what is wrong and the cure."""


UNSYNCED = "this file system cannot sync folders: what is recorded just before a loss of power may be trained again"
_CURES = {
    "ENOSPC": "the disk is full; expected room for the next part. Free some space",
    "EDQUOT": "your quota is used up; expected room for the next part. Free some space",
    "EROFS": "the file system is read-only; expected a writable directory. Choose another --out",
    "EACCES": "permission denied; expected a directory of yours. Choose another --out",
    "EPERM": "permission denied; expected a directory of yours. Choose another --out",
    "ENOTDIR": "a file stands where a directory is needed. Choose another --out",
}


def refusal(path: Path, error: OSError) -> StoreError:
    """Return an error of the file system as one line that names the path and the cure."""
    code = os.strerror(error.errno) if error.errno else str(error)
    cure = _CURES.get(errno.errorcode.get(error.errno or 0, ""), f"{code}. Correct it")
    return StoreError(f"{path}: {cure}, then run the same command again; what is recorded is safe.")


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one line that names the path and the cure.

    Raises:
        StoreError: in place of any `OSError` in the body.
    """
    try:
        yield
    except OSError as error:
        raise refusal(path, error) from None


@contextmanager
def replacing(path: Path, drafts: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path; on success sync and rename what was written there, on failure remove it.

    The name begins with a dot: dataset readers skip it, and a killed writer leaves nothing that looks recorded.

    Args:
        path: What it becomes.
        drafts: The folder for it, on the same file system; beside `path` by default.
    """
    temporary = (drafts or path.parent) / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        with suppress(OSError):  # what went wrong before is what the caller has to know
            temporary.unlink()


def sync(folder: Path) -> bool:
    """Have the file system keep the names in a folder through a loss of power; return False if it cannot."""
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return False  # one may write there, and not look
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
        return False
    finally:
        os.close(opened)
    return True


def write_json(path: Path, content: Any) -> None:
    """Write a small file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
