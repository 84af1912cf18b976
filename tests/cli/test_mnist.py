"""Files of MNIST images that are none, or are broken."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


def idx(values: np.ndarray, magic: int | None = None) -> bytes:
    header = struct.pack(">I", 0x800 + values.ndim if magic is None else magic)
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.astype(np.uint8).tobytes()


IMAGES, LABELS = idx(np.zeros((40, 28, 28))), idx(np.arange(40) % 2)
SQUEEZED = gzip.compress(idx(np.arange(40 * 784).reshape(40, 28, 28)))

MNIST = {
    "images_cut_short": (IMAGES[:-1], LABELS, "train-images-idx3-ubyte: cut short, got 31359 bytes; expected 31360"),
    "header_cut_short": (IMAGES[:7], LABELS, "train-images-idx3-ubyte: not an IDX file of bytes with 3 dimension"),
    "not_idx": (b"<html>404</html>" * 9, LABELS, "train-images-idx3-ubyte: not an IDX file"),
    "labels_as_images": (LABELS, LABELS, "train-images-idx3-ubyte: not an IDX file of bytes with 3 dimension"),
    "labels_of_another_set": (IMAGES, idx(np.zeros(39)), "do not belong together, got 40 images and 39 labels"),
    "no_labels": (IMAGES, None, "no file train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz; expected MNIST"),
    "other_size": (idx(np.zeros((40, 8, 8))), LABELS, "images of 8 × 8 pixels, expected 28 × 28"),
    "too_few": (IMAGES, idx(np.zeros(40)), "class 0 has 40 images", "Lower n or n_test"),
    "no_images": (idx(np.zeros((0, 28, 28))), idx(np.zeros(0)), "data"),
    "gzip_cut_short": (SQUEEZED[:-20], LABELS, "train-images-idx3-ubyte.gz: cannot be read", "Fetch it again"),
    "gzip_damaged": (SQUEEZED[:90] + b"\xff" * 40 + SQUEEZED[130:], LABELS, "train-images-idx3-ubyte.gz: cannot be"),
    "gzip_by_name_only": (b"\x1f\x8b" + IMAGES[2:], LABELS, "train-images-idx3-ubyte.gz: cannot be read"),
}


@pytest.mark.parametrize("case", MNIST)
def test_malformed_mnist_file_is_named_with_its_cure(
    refused: Callable[..., str], tiny: Callable[..., Path], tmp_path: Path, case: str
) -> None:
    images, labels, *words = MNIST[case]
    (tmp_path / "data").mkdir()
    assert isinstance(images, bytes)
    ending = ".gz" if images[:2] == b"\x1f\x8b" else ""
    (tmp_path / "data" / f"train-images-idx3-ubyte{ending}").write_bytes(images)
    if isinstance(labels, bytes):
        (tmp_path / "data" / "train-labels-idx1-ubyte").write_bytes(labels)
    spec = tiny(problem="'mnist'", d=784, n=50, n_test=50)
    line = refused("run", spec, "--out", "store", "--data", tmp_path / "data")
    for word in words:
        assert str(word) in line
