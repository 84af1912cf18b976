"""Kept: the files that a store keeps beside its tables, so that what it was trained on comes along with it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from relusweep.sweep import contents, own_code, trust
from relusweep.sweep.contents import POINTS, Name
from relusweep.sweep.dataset import DataError
from relusweep.sweep.images import MNIST, content_there, idx_folder
from relusweep.sweep.own_code import CODE
from relusweep.sweep.shelf import Shelf
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.files import listed
from relusweep.sweep.store.store import Store
from relusweep.sweep.weights_file import WEIGHTS


def keep_data(spec: Spec, store: Store) -> None:
    """Keep what the files of a spec hold, data and code, and remember which images it is trained on.

    Code of the user's own is taken from now on, in this store and every other.

    Raises:
        StoreError: if the store cannot be written.
        DataError: if the images are others than those that it was trained on.
    """
    named: list[Name] = []
    for (file, x_columns, y_column), content in spec.sources.contents.items():
        POINTS.keep(content, store.path, file)
        named.append({"file": file, "x_columns": x_columns, "y_column": y_column, "content": content})
    for name, source in spec.sources.code.items():
        CODE.keep(own_code.content_in(source), store.path, name)
        named.append({"file": name, "x_columns": None, "y_column": None, "content": source})
    for name, content in spec.sources.weights.items():
        WEIGHTS.keep(content, store.path, name)
        named.append({"file": contents.weights_name(name), "x_columns": None, "y_column": None, "content": content})
    for key, content in spec.branches.items():
        WEIGHTS.keep(content, store.path, f"[from] {key}")
        named.append({"file": f"{contents.BRANCHES}{key}", "x_columns": None, "y_column": None, "content": content})
    trust.take(spec.sources.chosen)
    for split, content in spec.sources.images.items():
        if there := content_there(split):
            known = contents.IMAGES if there == (content or MNIST[split]) else contents.IMAGES_BEFORE
            named.append({"file": f"{known}{split}", "x_columns": None, "y_column": None, "content": there})
    contents.keep_names(store.path, named)
    contents.look_in(store.path)


def refuse_other_images(spec: Spec, store: Store) -> None:
    """Look at the image files, where they are there and the spec has runs on them.

    Raises:
        DataError: if they are others than those that the store was trained on.
    """
    contents.look_in(store.path)
    for split in spec.sources.images:
        if content := content_there(split):
            contents.refuse_other_images(idx_folder(), split, content)


def broken(store: Store, spec: Spec) -> dict[Path, str]:
    """Read all that a store keeps; return what is damaged, or missing though runs were trained on it, and why.

    Where the spec names no files and the store keeps none, no run is asked.
    """
    folder = store.path / "files"
    if not folder.is_dir() and not spec.sources.digest:
        return {}
    found = dict.fromkeys([*listed(folder, ".npz"), *listed(folder, ".py")], "")
    for path in found:
        try:
            _shelf(path).read_kept(path)
        except DataError as error:
            found[path] = str(error).removeprefix(f"{path}: ")
    needed = {folder / name for name in trained_on(store)}
    at_weights = [each["content"] for each in contents.names(store.path) if each["file"].startswith(contents.BRANCHES)]
    needed |= {folder / WEIGHTS.file(content) for content in at_weights}
    needed |= {folder / CODE.file(own_code.content_in(source)) for source in spec.measure.sources.values()}
    missing = dict.fromkeys(sorted(needed - set(found)), "not there. Run the spec with the original file again.")
    return {path: why for path, why in (found | missing).items() if why}


# Where what a column of `runs` names is found: the shelf, and the content in the column's value.
_SHELVES: Mapping[str, tuple[Shelf[Any], Callable[[str], str]]] = {
    "content": (POINTS, str),
    "target_source": (CODE, own_code.content_in),
    "inputs_source": (CODE, own_code.content_in),
    "init_content": (WEIGHTS, str),
}


def _shelf(path: Path) -> Shelf[Any]:
    """Return the shelf of a file; of two suffixes that it has, the longer says it."""
    found = {shelf.suffix: shelf for shelf, _ in _SHELVES.values() if path.name.endswith(shelf.suffix)}
    return found[max(found, key=len)]


def trained_on(store: Store) -> set[str]:
    """Return the names of the files that a store has to keep: those that recorded runs were trained on."""

    def take(pieces: Iterator[pa.Table]) -> set[str]:
        found: set[str] = set()
        for piece in pieces:
            for column, (shelf, content) in _SHELVES.items():
                if piece[column].null_count == len(piece):
                    continue
                # the content of images is that of no file which a store keeps
                own = piece.filter(pc.field("problem") != "mnist") if column == "content" else piece
                found |= {shelf.file(content(value)) for value in own[column].unique().to_pylist() if value}
        return found

    return set().union(*store.each("runs", take, ["problem", *_SHELVES])[0])
