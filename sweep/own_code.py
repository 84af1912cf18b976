"""Own code: Python files of a user's by the hash of their bytes, in memory and in the stores that keep them.

A source is written `content:function`. What it is called in a spec, `my_targets.py:ridge` or the name of what a package
offers, is but a name. Code is read only from where no other user can write, and reading it runs nothing.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from relusweep.sweep import offers
from relusweep.sweep.dataset import DataError
from relusweep.sweep.kernels.jit.private import weakness
from relusweep.sweep.shelf import Shelf, UnsafeError
from relusweep.sweep.store.small_file import content_of as bytes_of

MOST_BYTES = 2**20
SOURCE = "^[0-9a-f]{32}:[A-Za-z_][A-Za-z0-9_]*$"
_FUNCTION = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_OFFER = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]*")


def source_of(name: str, folder: Path) -> str:
    """Read the file of a name, and return its source.

    Args:
        name: `FILE.py:FUNCTION`, or the name of what an installed package offers.
        folder: To which the file is relative.

    Raises:
        DataError: if it is neither, or the file cannot be read, or could be another user's.
    """
    file, colon, function = name.rpartition(":")
    if not colon and not name.endswith(".py") and _OFFER.fullmatch(name):
        path, function = offers.located(name)
    elif file.endswith(".py") and _FUNCTION.fullmatch(function):
        path = folder / file
    else:
        raise DataError(
            f"{name[:200]!r}: names no function; expected 'FILE.py:FUNCTION', as in 'my_targets.py:ridge', or what an "
            "installed package offers."
        )
    return f"{CODE.remember(_read(path))}:{function}"


def content_of(code: bytes) -> str:
    """Return 32 hexadecimal digits: the hash of the bytes of a file."""
    return hashlib.blake2b(b"relusweep source 1\0" + code, digest_size=16).hexdigest()


def contents_in(values: Mapping[str, Any]) -> list[str]:
    """Return the contents of the code that the parameters of a run name."""
    sources = (values.get(key) for key in ("target_source", "inputs_source"))
    return [content_in(source) for source in sources if source]


def content_in(source: str) -> str:
    """Return the content of a source."""
    return source.partition(":")[0]


def _read(path: Path) -> bytes:
    """Read a file that no other user can have written.

    To the folder itself a place such as /tmp is none; see `weakness` for why looking first and reading then is enough.
    """
    try:
        real = Path(os.path.realpath(path))
        real.stat()
        if why := weakness(real.parent) or weakness(real):
            raise UnsafeError(
                f"{path}: not read, because another user could have put other code there ({why}); expected a file in a "
                "folder of yours. Copy it into one, or take the right to write from others: chmod go-w."
            )
        return bytes_of(real, MOST_BYTES)
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; expected Python, relative to the spec. A store whose folder files is whole "
            "needs it no more: relusweep run STORE/spec.toml --out STORE"
        ) from None
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error).rpartition(".py ")[2]
        raise DataError(f"{path}: cannot be read ({why}); expected a file of Python, at most 1 MiB.") from None


def _write(code: bytes, path: Path) -> None:
    path.write_bytes(code)


CODE = Shelf("code", ".py", content_of, _read, _write)


def named_by(values: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the contents of the code that the parameters of several runs name."""
    return {content for each in values for content in contents_in(each)}
