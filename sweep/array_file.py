"""Array file: arrays of a user's .npz, and what every file of numbers is held to before it is read.

Sizes are looked at before anything is laid out in memory, and nothing in a file is executed.
"""

import io
import stat
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relusweep.sweep.dataset import Array, DataError
from relusweep.sweep.errors import RelusweepError

MOST_BYTES = 2**30  # of all numbers, as float64
_WHOLE = 2**53  # up to here float64 has every whole number
_HEADER_BYTES = 2**16  # of an array: more than numpy takes


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Read a file that is there, has something in it and is not too large; make one line of whatever goes wrong.

    Args:
        path: Its name.
        what: Should be in it, as messages call it.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{path}: not a file; expected one with the {what}.")
        if not found.st_size:
            raise DataError(f"{path}: empty; expected {what}.")
        refuse_more(path, found.st_size)
        yield
    except RelusweepError:
        raise
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; expected one with the {what}, relative to the spec. A store whose "
            "folder files is whole needs it no more: relusweep run STORE/spec.toml --out STORE"
        ) from None
    except MemoryError:
        raise DataError(f"{path}: too large for the memory of this machine; expected fewer {what}.") from None
    except Exception as error:  # zip, zlib, Arrow and numpy have each their own
        raise DataError(f"{path}: cannot be read ({_reason(error)}); expected a {path.suffix} file.") from None


def _reason(error: Exception) -> str:
    """Return the first line of an error of a library, without what a terminal would obey."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    return "".join(letter if letter.isprintable() else "?" for letter in line).rstrip(".")


def refuse_more(path: Path, size: float | int) -> None:
    """Refuse more bytes of numbers than there is room for."""
    if size > MOST_BYTES:
        raise DataError(
            f"{path}: {size / 2**30:.1f} GiB of numbers; expected at most {MOST_BYTES // 2**30} GiB. Take fewer points."
        )


def refuse_infinite(path: Path, array: Array, place: Callable[[int, int], str]) -> None:
    """Refuse the first number that is none; `place` names it by its row and column, both from 1."""
    finite = np.isfinite(array)
    if not finite.all():
        row, column = (int(k) for k in np.argwhere(np.atleast_2d(~finite.T).T)[0])
        value = np.atleast_2d(array.T).T[row, column]
        raise DataError(f"{path}: {place(row + 1, column + 1)}: {value}; expected a finite number.")


def refuse_rounded(path: Path, array: NDArray[Any], place: Callable[[int, int], str]) -> None:
    """Refuse the first whole number that float64 may not hold; `place` as above."""
    if array.dtype.kind in "iu":
        beyond = (array > _WHOLE) | (array < -_WHOLE if array.dtype.kind == "i" else False)
        if beyond.any():
            row, column = (int(k) for k in np.argwhere(np.atleast_2d(beyond.T).T)[0])
            value = np.atleast_2d(array.T).T[row, column]
            raise DataError(
                f"{path}: {place(row + 1, column + 1)}: {value} would be rounded; expected whole numbers up to 2^53. "
                "Write it as a float."
            )


def canonical(array: NDArray[Any]) -> Array:
    """Return an array in rows of float64; the two zeros are one number."""
    with np.errstate(over="ignore"):  # a number beyond float64 becomes infinite, and is refused as such
        return np.ascontiguousarray(array, np.float64) + 0.0


def read_arrays(
    path: Path, names: Collection[str], check: Callable[[Mapping[str, tuple[int, ...]], list[str]], None]
) -> dict[str, Array]:
    """Read some arrays of a .npz, as float64.

    Args:
        path: The file.
        names: Of the arrays; others are left.
        check: Is given the shapes of those that are there, and the names of all, before anything is read.

    Raises:
        DataError: if one is there twice, or holds no finite real numbers, or all are too many.
    """
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.removesuffix(".npy") in names]
        found = [info.filename.removesuffix(".npy") for info in members]
        for name in found:
            if found.count(name) > 1:
                raise DataError(f"{path}: {name} is there twice; expected it once.")
        headers = {name: _header(path, archive, info) for name, info in zip(found, members, strict=True)}
        shapes = {name: shape for name, (shape, _) in headers.items()}
        check(shapes, [info.filename.removesuffix(".npy") for info in archive.infolist()])
        refuse_more(path, sum(8.0 * np.prod(shape, dtype=float) for shape in shapes.values()))
        for name, (_, kind) in headers.items():
            if kind.kind not in "biuf":
                raise DataError(f"{path}: {name} holds {kind}, no real numbers; expected an array of floats.")
        arrays = {}
        for name, info in zip(found, members, strict=True):
            with archive.open(info) as file:
                plain = np.lib.format.read_array(file, allow_pickle=False)
                refuse_rounded(path, plain, lambda row, column, name=name: f"{name}, row {row}, column {column}")
                arrays[name] = canonical(plain)
                if file.read(1):
                    raise ValueError(f"{name} is longer than its header says")
    for name, array in arrays.items():
        refuse_infinite(path, array, lambda row, column, name=name: f"{name}, row {row}, column {column}")
    return arrays


def _header(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array, without reading on: a header may promise more than there is memory."""
    with archive.open(info) as file:
        start = io.BytesIO(file.read(_HEADER_BYTES))
    version = np.lib.format.read_magic(start)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{path}: {info.filename} is of another version of numpy's format; expected plain numbers.")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read_header(start)
    return shape, kind
