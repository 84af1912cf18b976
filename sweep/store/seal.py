"""Seal: a hash of a whole Parquet file, kept in the file itself. Page checksums do not cover the footer; this does.

It stands between the last page and the footer, where readers of Parquet do not look: they find pages by their offsets.
Before it there may be an enclosure, bytes that are read without any Parquet.
"""

import hashlib
import io
import os
from pathlib import Path

_MARK = b"relusweep seal: "
_SIZE = 16
_ENCLOSED = b"relusweep also: "  # after an enclosure and its length
_LENGTH = 8
_END = 8  # bytes after a footer: its length in four of them, and the letters PAR1
_CHUNK = 2**20


def seal(path: Path, enclosure: bytes = b"") -> None:
    """Insert an enclosure, and the hash of everything else in a Parquet file, before its footer."""
    with path.open("rb+") as file:
        place = _footer(file)
        file.seek(place)
        footer = file.read()
        if enclosure:
            enclosure += len(enclosure).to_bytes(_LENGTH, "little") + _ENCLOSED
            file.seek(place)
            file.write(enclosure + footer)
            place += len(enclosure)
        digest = _hash(file, place)
        file.seek(place)
        file.write(_MARK + digest + footer)


def enclosure(path: Path) -> bytes | None:
    """Read every byte of a file; return what is enclosed, which may be nothing; None if it has no seal.

    Raises:
        ValueError: if it differs from what was sealed.
    """
    with path.open("rb", buffering=0) as opened:
        small = os.fstat(opened.fileno()).st_size <= _CHUNK
        file = io.BytesIO(opened.readall()) if small else io.BufferedReader(opened)
        place = _mark(file)
        if place is None:
            return None
        file.seek(place + len(_MARK))
        digest = file.read(_SIZE)
        if _hash(file, place, skipped=len(_MARK) + _SIZE) != digest:
            raise ValueError("it differs from what was written")
        return _enclosed(file, place)


def is_broken(path: Path) -> bool:
    """Return whether a sealed file differs from what was sealed; of one without a seal nothing is known."""
    try:
        enclosure(path)
    except ValueError:
        return True
    return False


def _enclosed(file: io.BufferedIOBase, place: int) -> bytes:
    end = place - _LENGTH - len(_ENCLOSED)
    if end < 0:
        return b""
    file.seek(end)
    length = int.from_bytes(file.read(_LENGTH), "little")
    if file.read(len(_ENCLOSED)) != _ENCLOSED or length > end:
        return b""
    file.seek(end - length)
    return file.read(length)


def _mark(file: io.BufferedIOBase) -> int | None:
    place = _footer(file) - len(_MARK) - _SIZE
    if place < 0:
        return None
    file.seek(place)
    return place if file.read(len(_MARK)) == _MARK else None


def _footer(file: io.BufferedIOBase) -> int:
    """Find where the footer begins, if the length at the end is right."""
    size = file.seek(0, 2)
    file.seek(max(size - _END, 0))
    return size - _END - int.from_bytes(file.read(4), "little")


def _hash(file: io.BufferedIOBase, place: int, skipped: int = 0) -> bytes:
    digest = hashlib.blake2b(digest_size=_SIZE)
    file.seek(0)
    left = place
    while left and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    file.seek(place + skipped)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.digest()
