"""Contents: points by the hash of their numbers, and what a store keeps of them."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from relusweep.sweep import contents
from relusweep.sweep.contents import POINTS, content_of, keep_names, look_in, names
from relusweep.sweep.dataset import DataError, Dataset
from relusweep.sweep.store.atomic import StoreError

NONE = np.zeros((0, 2)), np.zeros(0)


def points(seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset(rng.normal(size=(5, 2)), rng.normal(size=5), *NONE)


@pytest.fixture(autouse=True)
def _forgotten(forget: Callable[[], None]) -> None:
    """Begin as a process does that has read nothing."""
    forget()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def test_content_is_that_of_all_numbers_their_shapes_and_their_order() -> None:
    data = points()
    assert content_of(data) == content_of(points())
    assert content_of(Dataset(np.asfortranarray(data.x), data.y, *NONE)) == content_of(data)
    others = [
        Dataset(data.x[::-1], data.y[::-1], *NONE),
        Dataset(data.x[:, ::-1], data.y, *NONE),
        Dataset(data.x, data.y, data.x[:1], data.y[:1]),
        Dataset(data.x[:4], data.y[:4], data.x[4:], data.y[4:]),
        Dataset(np.nextafter(data.x, 9), data.y, *NONE),
        Dataset(data.x.reshape(10, 1), data.y, np.zeros((0, 1)), NONE[1]),
    ]
    assert len({content_of(each) for each in [data, *others]}) == 1 + len(others)
    assert (
        content_of(Dataset(np.arange(4.0).reshape(2, 2), np.arange(2.0), *NONE)) == "b6d719048c6ce11547715c8a13ade066"
    )


def test_what_a_store_keeps_is_found_by_who_has_the_store_alone(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = POINTS.remember(points())
    POINTS.keep(content, store, "a.csv")
    monkeypatch.setattr(POINTS, "_known", {})
    with pytest.raises(DataError, match=f"a.csv: content {content} is not there .no store was opened"):
        POINTS.find(content, "a.csv")
    look_in(store)
    np.testing.assert_array_equal(POINTS.find(content, "a.csv").x, points().x)
    (store / "files" / f"{content}.npz").unlink()
    assert POINTS.find(content, "a.csv") is POINTS.find(content, "another name")  # read once a process


def test_what_is_kept_is_written_once_and_anew_where_it_is_damaged(store: Path) -> None:
    content = POINTS.remember(points())
    POINTS.keep(content, store, "a.csv")
    (path,) = (store / "files").iterdir()
    assert path.name == f"{content}.npz"
    assert path.parent.stat().st_mode & 0o77 == 0
    before = path.stat().st_ino
    POINTS.keep(content, store, "a.csv")
    assert path.stat().st_ino == before
    path.write_bytes(path.read_bytes()[:-9])
    POINTS.keep(content, store, "a.csv")
    np.testing.assert_array_equal(POINTS.read_kept(path).x, points().x)


def test_damage_and_other_numbers_under_a_name_are_seen(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = POINTS.remember(points())
    POINTS.keep(content, store, "a.csv")
    path = store / "files" / f"{content}.npz"
    sound = path.read_bytes()
    monkeypatch.setattr(POINTS, "_known", {})
    look_in(store)
    for place in range(0, 8 * len(sound), 37):
        changed = bytearray(sound)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            found = POINTS.read_kept(path)
        except DataError as error:
            said = str(error)
        else:  # a bit that means nothing, such as a date in the archive
            said = f"{path}: differs from what was written" * (content_of(found) == content)
        assert said.startswith(f"{path}: differs from what was written")
    np.savez(path, x=points(1).x, y=points(1).y)
    with pytest.raises(
        DataError, match=r"npz: differs from what was written \(it holds something else\); .*written anew"
    ):
        POINTS.find(content, "a.csv")
    with pytest.raises(DataError, match="differs from what was written"):
        POINTS.keep(content, store, "a.csv")  # there is nothing to write it from


def test_names_are_added_to_and_the_new_one_is_meant(store: Path) -> None:
    one = {"file": "a.csv", "x_columns": None, "y_column": None, "content": "1" * 32}
    other = {"file": "a.csv", "x_columns": "u", "y_column": None, "content": "2" * 32}
    keep_names(store, [])
    assert not (store / "files").exists()
    keep_names(store, [one, other])  # pyright: ignore[reportArgumentType]
    keep_names(store, [one | {"content": "3" * 32}])  # pyright: ignore[reportArgumentType]
    assert names(store) == [one | {"content": "3" * 32}, other]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"file": "a.csv"}]', "[" * 10**5, '[{"file": "a", "x_columns": null, "y_column": null, "content": "../x"}]'])  # fmt: skip
def test_damaged_names_are_none(store: Path, text: str) -> None:
    (store / "files").mkdir()
    (store / "files" / "names.json").write_text(text)
    assert names(store) == []


def test_names_that_the_file_system_refuses_are_not_taken_for_none(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_names(store, [{"file": "a.csv", "x_columns": None, "y_column": None, "content": "1" * 32}])

    def refuse(path: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr("relusweep.sweep.store.small_file.content_of", refuse)
        broken.setattr("relusweep.sweep.store.small_file._WAITS", (0.0,))
        with pytest.raises(
            StoreError, match=r"names.json: cannot be read .Input/output error.; expected a file that can"
        ):
            keep_names(store, [{"file": "b.csv", "x_columns": None, "y_column": None, "content": "2" * 32}])
    assert [each["file"] for each in names(store)] == ["a.csv"]


def test_branches_are_those_of_the_store_in_use(store: Path, tmp_path: Path) -> None:
    keep_names(store, [{"file": "from/abc@7", "x_columns": None, "y_column": None, "content": "1" * 32}])
    look_in(store)
    assert contents.branch("abc@7") == "1" * 32
    (tmp_path / "other").mkdir()
    look_in(tmp_path / "other")
    assert contents.branch("abc@7") is None


def test_store_that_cannot_be_written_is_named(store: Path) -> None:
    (store / "files").write_text("in the way")
    with pytest.raises(StoreError, match="files/.*: File exists. Correct it"):
        POINTS.keep(POINTS.remember(points()), store, "a.csv")
    with pytest.raises(StoreError, match="store: File exists. Correct it"):
        keep_names(store, [{"file": "a.csv", "x_columns": None, "y_column": None, "content": "1" * 32}])


@pytest.mark.parametrize("prefix", [contents.IMAGES, contents.IMAGES_BEFORE])
def test_images_are_those_that_the_store_in_use_was_trained_on(store: Path, tmp_path: Path, prefix: str) -> None:
    keep_names(store, [{"file": f"{prefix}train", "x_columns": None, "y_column": None, "content": "1" * 32}])
    look_in(store)
    contents.refuse_other_images(tmp_path, "train", "1" * 32)
    contents.refuse_other_images(tmp_path, "t10k", "2" * 32)
    with pytest.raises(DataError, match=r"the train files hold other images than those that the store was trained on .content 22222222, expected 11111111.. Name the folder of those with --data, or choose another --out"):  # fmt: skip
        contents.refuse_other_images(tmp_path, "train", "2" * 32)
    assert contents.images(store, "train") == ("1" * 32 if prefix == contents.IMAGES else None)
    (tmp_path / "new").mkdir()
    look_in(tmp_path / "new")
    contents.refuse_other_images(tmp_path, "train", "2" * 32)
    with pytest.raises(DataError, match=r"content 22222222, expected 33333333"):
        contents.refuse_other_images(tmp_path, "train", "2" * 32, "3" * 32)


def test_leftovers_of_a_killed_writer_are_no_content(store: Path) -> None:
    content = POINTS.remember(points())
    POINTS.keep(content, store, "a.csv")
    (store / "files" / f".{content}.npz.00000000.tmp").write_bytes(b"half")
    assert [name for name in os.listdir(store / "files") if not name.startswith(".")] == [f"{content}.npz"]
    assert json.dumps(names(store)) == "[]"
