"""Images: two classes of digits with labels ±1, of scikit-learn or from MNIST's files."""

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relusweep.sweep.dataset import TRAIN, Array, DataError, Dataset, Parameters, stream
from relusweep.sweep.store.small_file import content_of

# Contents of the files that LeCun, Cortes and Burges published. Whatever else lies under their names, Fashion-MNIST
# say, is another data set, and the runs on it have its content in their ids.
MNIST = {"train": "fc4954b146a37205cbede7324f89cbce", "t10k": "3abe64b05836a0f1c36ebf9ac3f5b795"}
SPLIT = "train"  # where none is given
_MOST_BYTES = 2**28  # of a file of images, packed or not; MNIST has 2**25.5


def _two_classes(images: NDArray[Any], white: int, labels: NDArray[Any], p: Parameters, origin: str) -> Dataset:
    """Choose n + n_test images, half of each class, at random by data_seed; the first class is -1, the second +1.

    Pixels are divided by `white`, so that they lie in [0, 1].
    """
    rng, (low, high) = stream(p, TRAIN), (int(c) for c in p["classes"].split(","))
    train, test = [], []
    for label, sign in ((low, -1), (high, 1)):
        # an odd count gives the extra image to the second class
        n, n_test = ((p[key] + (sign > 0)) // 2 for key in ("n", "n_test"))
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) < n + n_test:
            raise DataError(
                f"{origin}: class {label} has {len(rows)} images, got n = {p['n']} and n_test = {p['n_test']}; "
                f"expected at most {len(rows)} of each class. Lower n or n_test."
            )
        train += [(row, sign) for row in rows[:n]]
        test += [(row, sign) for row in rows[n : n + n_test]]
    (rows, y), (rows_test, y_test) = (np.array(pairs, int).reshape(-1, 2).T for pairs in (train, test))
    return Dataset(images[rows] / white, y.astype(float), images[rows_test] / white, y_test.astype(float))


def digits(p: Parameters) -> Dataset:
    """Load scikit-learn's 1,797 real handwritten digits, 8×8 pixels scaled to [0, 1]."""
    images, labels = _bundled_digits()
    return _two_classes(images, 16, labels, p, "digits")


@cache
def _bundled_digits() -> tuple[Array, NDArray[Any]]:
    from sklearn.datasets import load_digits  # slow to import, and wanted by one problem only

    images, labels = load_digits(return_X_y=True)
    return np.asarray(images), np.asarray(labels)


def mnist(p: Parameters) -> Dataset:
    """Load MNIST images from IDX files in the folder RELUSWEEP_DATA (or --data), pixels scaled to [0, 1]."""
    images, labels = _idx(idx_folder(), p["split"])
    return _two_classes(images.reshape(len(images), 784), 255, labels, p, str(idx_folder()))


def idx_folder() -> Path:
    """Return where the MNIST files are: RELUSWEEP_DATA, or --data."""
    return Path(os.environ.get("RELUSWEEP_DATA", "data/mnist"))


def content_there(split: str) -> str | None:
    """Return the content of the files of a split, if they are there and can be read."""
    try:
        return idx_content(idx_folder(), split)
    except DataError:
        return None  # nothing will be trained on them, or that says why


def other_content(split: str) -> str | None:
    """Return the same, if they hold other images than MNIST's."""
    content = content_there(split)
    return content if content != MNIST[split] else None


@cache
def idx_content(folder: Path, split: str) -> str:
    """Return the hash of all images and labels of the files of a split, compressed or not.

    Raises:
        DataError: if they are missing or broken.
    """
    digest = hashlib.blake2b(digest_size=16)
    for array in _idx(folder, split):
        digest.update(repr(array.shape).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _idx(folder: Path, split: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the images (k, 28, 28) and the labels (k,) of a split."""
    images = _read_idx(folder, f"{split}-images-idx3-ubyte", dimensions=3)
    labels = _read_idx(folder, f"{split}-labels-idx1-ubyte", dimensions=1)
    if len(images) != len(labels):
        raise DataError(
            f"{folder}: the {split} files do not belong together, got {len(images)} images and "
            f"{len(labels)} labels; expected one label an image. Fetch both files again."
        )
    if images.shape[1:] != (28, 28):
        raise DataError(
            f"{folder}: images of {images.shape[1]} × {images.shape[2]} pixels, expected 28 × 28. "
            "Fetch the MNIST files again."
        )
    return images, labels


@cache
def _read_idx(folder: Path, name: str, dimensions: int) -> NDArray[Any]:
    """Read an IDX file of bytes, gzip-compressed or not."""
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if not found:
        raise DataError(
            f"{folder}: no file {name} or {name}.gz; expected MNIST in IDX format. "
            "Name its folder with --data DIR or RELUSWEEP_DATA=DIR."
        )
    try:
        raw = content_of(found[0], _MOST_BYTES)
        if raw.startswith(b"\x1f\x8b"):  # whatever its name says
            raw = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{found[0]}: cannot be read ({error}); expected an IDX file. Fetch it again.") from None
    if len(raw) > _MOST_BYTES:
        raise DataError(f"{found[0]}: more than {_MOST_BYTES // 2**20} MiB; expected an IDX file. Fetch it again.")
    header = 4 + 4 * dimensions
    if len(raw) < header or raw[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{found[0]}: not an IDX file of bytes with {dimensions} dimension(s). Fetch it again.")
    shape = struct.unpack(f">{dimensions}I", raw[4:header])
    values = np.frombuffer(raw, np.uint8, offset=header)
    if values.size != math.prod(shape):
        raise DataError(f"{found[0]}: cut short, got {values.size} bytes; expected {math.prod(shape)}. Fetch it again.")
    return values.reshape(shape) if values.size else np.zeros((0,) * dimensions, np.uint8)
