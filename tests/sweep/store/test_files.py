"""Files: the small ones of a store."""

import errno
import json
import os

import pytest

from relusweep.sweep.store import files
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.files import listed

FAILURE = {
    "pack_id": "p", "run_ids": ["a"], "error": "boom", "trace": "…", "attempts": 3, "host": "node1", "time": 1e9,
}  # fmt: skip
STANDING = {
    "worker": "w", "pack_id": "p", "runs": 2, "max_steps": 9, "step": 3, "run_steps": 6, "seconds": 0.5,
    "ended": {"converged": 1}, "time": 1e9, "compiling": False,
}  # fmt: skip


def test_failures_and_progress_are_read_back(store):
    store.write_failure("p", FAILURE)
    store.write_progress("w", STANDING)
    assert [failure["error"] for failure in store.failures()] == ["boom"]
    assert [progress["step"] for progress in store.progress()] == [3]
    store.clear_failure("p")
    store.clear_progress("w")
    assert store.failures() == store.progress() == []


@pytest.mark.parametrize(
    ("text", "name", "study"),
    [
        ("name = 'a'\nstudy = 'b'", "a", "b"),
        ("name = 'a'", "a", None),
        ("name = 3", None, None),
        ("half of a", None, None),
        (None, None, None),
    ],
)
def test_name_and_study_are_those_of_the_spec_if_it_can_be_read(store, text, name, study):
    if text is not None:
        store.write_spec(text)
        assert store.spec_path.read_text() == text
    assert (store.sweep_name(), store.study()) == (name, study)


def test_failure_that_cannot_be_read_just_now_is_not_damaged(store, monkeypatch):
    store.write_failure("p", FAILURE)
    (store.path / "failures" / "q.json").write_text("[]")
    (store.path / "failures" / "folder.json").mkdir()
    damaged = [store.path / "failures" / "q.json"]
    assert store.damaged_failures() == damaged
    genuine = files.content_of

    def refused(path):
        if path.name == "p.json":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return genuine(path)

    monkeypatch.setattr(files, "content_of", refused)
    assert store.failures() == []
    assert store.damaged_failures() == damaged


def test_failures_can_be_asked_for_by_the_runs_that_are_missing(store):
    for name in ("a", "b"):
        store.write_failure(name, FAILURE | {"pack_id": name, "run_ids": [name]})
    assert [failure["pack_id"] for failure in store.failures(missing={"b"})] == ["b"]


def test_progress_of_versions_that_knew_of_no_compiling_is_read(store):
    store.write_progress("w", {name: value for name, value in STANDING.items() if name != "compiling"})
    assert [progress["step"] for progress in store.progress()] == [3]


@pytest.mark.parametrize("folder", ["progress", "failures"])
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", "3", "[" * 10**5, "\0", '{"pack_id": 3}', "é\udcff"])
def test_whatever_else_lies_there_is_passed_over(store, folder, content):
    (store.path / folder / "x.json").write_bytes(content.encode(errors="surrogateescape"))
    (store.path / folder / "y.json").mkdir()
    store.write_failure("p", FAILURE)
    store.write_progress("w", STANDING)
    assert [failure["pack_id"] for failure in store.failures()] == ["p"]
    assert [progress["worker"] for progress in store.progress()] == ["w"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run_steps", -1),
        ("run_steps", 10**400),
        ("seconds", float("inf")),
        ("ended", []),
        ("step", "x"),
        ("time", None),
    ],
)
def test_numbers_that_no_one_can_add_up_are_passed_over(store, key, value):
    (store.path / "progress" / "w.json").write_text(json.dumps(STANDING | {key: value}))
    assert store.progress() == []


def test_a_folder_that_is_gone_has_no_files_and_one_that_is_a_file_is_named(store):
    (store.path / "progress").rmdir()
    assert store.progress() == []
    (store.path / "progress").touch()
    with pytest.raises(StoreError, match="progress: a file stands where a directory is needed"):
        store.progress()


def test_temporary_files_are_not_listed(tmp_path):
    for name in ("b.pt", "a.pt", ".a.pt.tmp", ".c.pt", "d.json"):
        (tmp_path / name).touch()
    assert listed(tmp_path, ".pt") == [tmp_path / "a.pt", tmp_path / "b.pt"]


def test_an_error_of_the_file_system_about_a_file_of_the_store_is_the_store_s(store):
    path = store.path / "runs" / "x"
    with pytest.raises(StoreError, match=r"runs/x: the file system is read-only; .*what is recorded is safe"):
        store.refuse(OSError(errno.EROFS, os.strerror(errno.EROFS), str(path)))
    store.refuse(OSError(errno.EROFS, os.strerror(errno.EROFS), "/elsewhere"))
    store.refuse(OSError("no file at all"))
    store.refuse(ValueError(str(path)))


@pytest.mark.parametrize("folder", ["failures", "progress"])
def test_a_pipe_or_a_device_keeps_no_one_waiting(store, folder):
    os.mkfifo(store.path / folder / "x.json")
    (store.path / folder / "y.json").symlink_to("/dev/zero")
    assert store.failures() == store.progress() == []
