"""Contents: the points of data files by the hash of their numbers, in memory and in the stores that keep them.

A store keeps in `files/` what its runs were trained on, `<content>.npz`, and in `names.json` what the files are called
in its spec. So whoever has the store needs no other file. Each is read once a process.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from relusweep.sweep import data_file, shelf
from relusweep.sweep.dataset import DataError, Dataset
from relusweep.sweep.shelf import Shelf
from relusweep.sweep.store import small_file
from relusweep.sweep.store.atomic import store_errors, write_json

Content = Annotated[str, Field(pattern="^[0-9a-f]{32}(:[A-Za-z_][A-Za-z0-9_]*)?$")]  # of code with its function


class Name(TypedDict):
    """What a file is called in a spec, how the columns of data were chosen, and what it held."""

    file: str
    x_columns: str | None
    y_column: str | None
    content: Content


_names = TypeAdapter(list[Name])
_branches: dict[str, str] = {}  # of the store in use, by their keys, the contents of the weights where they begin
_images: dict[str, str] = {}  # of each split of the image files, the content that the store in use was trained on


def content_of(data: Dataset) -> str:
    """Return 32 hexadecimal digits: the hash of the shapes and the numbers of all four arrays, in their order.

    It is one of numbers, not of bytes: a table and arrays with the same points are one data set.
    """
    digest = hashlib.blake2b(b"relusweep data 1", digest_size=16)
    for array in (data.x, data.y, data.x_test, data.y_test):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array, "<f8"))
    return digest.hexdigest()


def _write(data: Dataset, path: Path) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, x=data.x, y=data.y, x_test=data.x_test, y_test=data.y_test)


POINTS = Shelf("points", ".npz", content_of, data_file.read, _write)


def look_in(store: Path) -> None:
    """Find from now on what a store keeps, and refuse images that are not those that it was trained on."""
    shelf.look_in(store / "files")
    _images.clear()
    _branches.clear()
    remembered = names(store)
    at_weights = [each for each in remembered if each["file"].startswith(BRANCHES)]
    remember_branches({each["file"].removeprefix(BRANCHES): each["content"] for each in at_weights})
    for prefix in (IMAGES_BEFORE, IMAGES):
        _images.update({
            each["file"].removeprefix(prefix): each["content"] for each in remembered if each["file"].startswith(prefix)
        })  # fmt: skip


# What a store keeps --------------------------------------------------------------------------------------------------


def names(store: Path) -> list[Name]:
    """Return what a store remembers of the names in its spec; nothing if that is missing or damaged.

    Raises:
        StoreError: if it cannot be read, whatever is in it.
    """
    try:
        return _names.validate_json(small_file.patiently(small_file.content_of, store / "files" / "names.json"))
    except (OSError, ValidationError):
        return []


def keep_names(store: Path, named: list[Name]) -> None:
    """Add to what a store remembers; of what had been called the same, the new is meant from now on.

    Raises:
        StoreError: if the store cannot be written.
    """
    former = {(each["file"], each["x_columns"], each["y_column"]): each for each in names(store)}
    now = former | {(each["file"], each["x_columns"], each["y_column"]): each for each in named}
    if now != former:
        with store_errors(store):
            (store / "files").mkdir(exist_ok=True, mode=0o700)
            write_json(store / "files" / "names.json", list(now.values()))


def refuse_other_images(folder: Path, split: str, content: str, of_run: str | None = None) -> None:
    """Refuse image files that are not those that a run names, or that the store in use was trained on.

    Raises:
        DataError: if they are others.
    """
    if (expected := of_run or _images.get(split, content)) != content:
        raise DataError(
            f"{folder}: the {split} files hold other images than those that the store was trained on (content "
            f"{content[:8]}, expected {expected[:8]}). Name the folder of those with --data, or choose another --out."
        )


def images(store: Path, split: str) -> str | None:
    """Return the content of the images that a store was trained on; None if it does not say."""
    return next((each["content"] for each in names(store) if each["file"] == f"{IMAGES}{split}"), None)


def remember_branches(found: Mapping[str, str]) -> None:
    """Know from now on the contents of the weights at which branches begin, by their keys."""
    _branches.update(found)


def branch(key: str) -> str | None:
    """Return the content of the weights at which branches of a key begin; None if no store that was looked in says."""
    return _branches.get(key)


def weights_name(file: str) -> str:
    """Return what `names.json` calls the weights in a file; no data file can have the name."""
    return f"{file}/weights"


# What `names.json` calls the images of a split, which no data file can be called; and what it called them while no run
# had their content in its id.
IMAGES, IMAGES_BEFORE = "images/", "mnist/"
BRANCHES = "from/"  # … and the weights at which branches begin
