"""Images: two classes of real ones, and files that are not what they should be."""

import gzip
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relusweep.sweep.data import DataError, dataset
from relusweep.sweep.images import _read_idx, idx_content, other_content
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Spec
from relusweep.sweep.spec_error import SpecError


def draw(problem: str, **parameters):
    return dataset(Run.model_validate({"problem": problem, "lr": 0.1} | parameters).model_dump())


def test_digits_are_two_balanced_classes_of_real_images():
    data = draw("digits", classes="3,8", n=64, n_test=100)
    assert sorted(np.unique(data.y)) == [-1, 1]
    assert data.y.sum() == data.y_test.sum() == 0
    assert data.x.min() == 0
    assert data.x.max() == 1
    both = np.vstack([data.x, data.x_test])
    assert len(np.unique(both, axis=0)) == 164  # no image twice, none in both sets


def test_odd_count_gives_one_more_to_the_second_class():
    assert draw("digits", n=33).y.sum() == 1


def test_too_many_images_are_refused():
    with pytest.raises(
        DataError, match=r"digits: class 0 has 178 images, got n = 300 and n_test = 160; expected at most 178"
    ):
        draw("digits", n=300)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Tiny files in MNIST's format: 40 random images of each of the digits 0 to 3."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4, dtype=np.uint8), 40)
    images = rng.integers(0, 256, (160, 28, 28), dtype=np.uint8)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 160, 28, 28) + images.tobytes())
    labels_idx = struct.pack(">4BI", 0, 0, 8, 1, 160) + labels.tobytes()
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels_idx))
    monkeypatch.setenv("RELUSWEEP_DATA", str(tmp_path))
    return tmp_path


def mnist(**parameters):
    return draw("mnist", split="t10k", **({"n": 20, "n_test": 10} | parameters))


def test_files_are_known_by_what_is_in_them_whatever_their_names_say(folder):
    expected = mnist(classes="1,3")
    (folder / "t10k-labels-idx1-ubyte.gz").rename(folder / "t10k-labels-idx1-ubyte")
    images = folder / "t10k-images-idx3-ubyte"
    images.rename(images.with_name(f"{images.name}.gz"))
    found = mnist(classes="1,3")
    assert np.array_equal(found.x, expected.x)
    assert np.array_equal(found.y, expected.y)


def test_mnist_reads_plain_and_compressed_files(folder):
    data = mnist(classes="1,3")
    assert data.x.shape == (20, 784)
    assert 0 <= data.x.min() < 0.01
    assert 0.99 < data.x.max() <= 1
    images = (
        np.frombuffer((folder / "t10k-images-idx3-ubyte").read_bytes(), np.uint8, offset=16).reshape(160, 784) / 255
    )
    row = np.flatnonzero((images == data.x[0]).all(1))
    assert 40 <= row[0] < 80  # the first training image is one of class 1, labelled -1
    assert data.y[0] == -1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t10k-images-idx3-ubyte", None, "no file t10k-images-idx3-ubyte or .*; expected MNIST in IDX format. Name its folder with --data"),
        ("t10k-images-idx3-ubyte", b"hello world, hello world", "not an IDX file of bytes with 3 dimension"),
        ("t10k-images-idx3-ubyte", b"", "not an IDX file"),
        ("t10k-images-idx3-ubyte", struct.pack(">4B3I", 0, 0, 8, 3, 160, 28, 28) + b"1234", "cut short, got 4 bytes; expected 125440"),
        ("t10k-images-idx3-ubyte", struct.pack(">4B3I", 0, 0, 8, 3, 160, 1, 1) + bytes(160), "images of 1 × 1 pixels, expected 28 × 28"),
        ("t10k-labels-idx1-ubyte.gz", b"\x1f\x8bnot gzip at all", "cannot be read"),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, 2) + b"ab", mtime=0), "got 160 images and 2 labels"),
    ],
)  # fmt: skip
def test_broken_mnist_files_are_named(folder, monkeypatch, name, content, message):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    moved = folder.rename(folder.with_name(f"moved{hash((name, content))}"))  # files read before are remembered by path
    monkeypatch.setenv("RELUSWEEP_DATA", str(moved))
    with pytest.raises(DataError, match=message) as caught:
        mnist()
    assert "\n" not in str(caught.value)


def test_content_is_that_of_the_images_and_labels_whatever_their_files_are_called(folder, tmp_path):
    expected = idx_content(folder, "t10k")
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    images = (folder / "t10k-images-idx3-ubyte").read_bytes()
    for name, changed in {"same": labels, "others": labels[:-1] + bytes([9])}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "t10k-labels-idx1-ubyte").write_bytes(changed)
        (tmp_path / name / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        assert (idx_content(tmp_path / name, "t10k") == expected) == (name == "same")


def test_images_that_are_not_those_of_mnist_have_their_content_in_the_id(folder, tmp_path):
    spec = 'name = "x"\nfixed = { problem = "mnist", split = "t10k", n = 20, n_test = 10, lr = 0.1 }\n[[block]]\n'
    (run,) = Spec.parse(spec, "x.toml", tmp_path).expand()
    assert run.content == other_content("t10k") == idx_content(folder, "t10k")
    assert run.id != Run.model_validate(run.model_dump() | {"content": None}).id
    assert other_content("train") is None  # there are none
    with pytest.raises(SpecError, match=f"the folder of images holds '{run.content}'. Leave content out"):
        list(Spec.parse(spec + f'fixed = {{ content = "{"1" * 32}" }}\n', "x.toml", tmp_path).expand())


def test_images_of_another_folder_are_another_data_set_in_one_process(folder, tmp_path, monkeypatch):
    first = mnist()
    (tmp_path / "other").mkdir()
    images = bytearray((folder / "t10k-images-idx3-ubyte").read_bytes())
    images[16:] = bytes(255 - pixel for pixel in images[16:])
    (tmp_path / "other" / "t10k-images-idx3-ubyte").write_bytes(images)
    (folder / "t10k-labels-idx1-ubyte.gz").rename(tmp_path / "other" / "t10k-labels-idx1-ubyte.gz")
    monkeypatch.setenv("RELUSWEEP_DATA", str(tmp_path / "other"))
    np.testing.assert_allclose(mnist().x, 1 - first.x)


@pytest.mark.skipif("RELUSWEEP_DATA" not in os.environ, reason="wants the MNIST files: set RELUSWEEP_DATA")
def test_real_mnist_images_make_two_balanced_classes():
    data = draw("mnist", split="t10k", n=64, n_test=1000)
    assert other_content("t10k") is None  # so that ids of runs on MNIST itself stay what they were
    assert data.x.shape == (64, 784)
    assert data.y.sum() == data.y_test.sum() == 0
    ink = [data.x_test[data.y_test == sign].sum(1).mean() for sign in (-1, 1)]
    assert ink[0] > 1.5 * ink[1]  # a zero takes much more ink than a one


@given(
    st.sampled_from(["images-idx3", "labels-idx1"]),
    st.binary(max_size=40) | st.tuples(st.sampled_from([0, 1, 28, 160, 2**16, 2**31, 2**32 - 1]), st.sampled_from([0, 1, 28, 2**16, 2**31, 2**32 - 1])).map(lambda sizes: struct.pack(">4B3I", 0, 0, 8, 3, *sizes, sizes[1])),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_whatever_lies_in_an_idx_file_is_refused_in_one_line(tmp_path_factory, name, content, packed):
    """Sizes whose product overflows, or is zero, among them."""
    folder = tmp_path_factory.mktemp("idx")
    (folder / f"train-{name}-ubyte").write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError) as caught:
        _read_idx(folder, f"train-{name}-ubyte", 3)
        raise DataError("it was read: images of no size")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_idx_file_that_unpacks_to_more_than_images_have_is_refused(tmp_path):
    packed = zlib.compressobj(wbits=31)
    with (tmp_path / "train-images-idx3-ubyte.gz").open("wb") as file:
        for _ in range(300):
            file.write(packed.compress(bytes(2**20)))
        file.write(packed.flush())
    with pytest.raises(DataError, match=r"more than 256 MiB; expected an IDX file"):
        _read_idx(tmp_path, "train-images-idx3-ubyte", 3)


def test_idx_file_that_is_a_pipe_is_none(tmp_path):
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match="no file train-images"):
        _read_idx(tmp_path, "train-images-idx3-ubyte", 3)
