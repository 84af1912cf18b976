"""Atomic: files are written whole or not at all; what the file system refuses is one line with a cure."""

import errno
import json
import os
import re
import stat
from pathlib import Path

import pytest

from relusweep.sweep.store.atomic import StoreError, replacing, store_errors, sync, write_json


def test_killed_write_leaves_no_part(store):
    class Killed(Exception):
        pass

    target = store.path / "runs" / "pack-z.parquet"
    with pytest.raises(Killed), replacing(target) as temporary:
        temporary.write_bytes(b"half")
        raise Killed
    assert not target.exists()
    assert not list(target.parent.glob(".*"))
    (target.parent / ".pack-q.parquet.0123.tmp").write_bytes(b"left by kill -9")
    assert len(store.parts()) == 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "the disk is full; expected room for the next part. Free some space, then run"),
        (errno.EDQUOT, "your quota is used up; expected room for the next part. Free some space, then run"),
        (errno.EROFS, "the file system is read-only; expected a writable directory. Choose another --out, then run"),
        (errno.EACCES, "permission denied; expected a directory of yours. Choose another --out, then run"),
        (errno.ENOTDIR, "a file stands where a directory is needed. Choose another --out, then run"),
        (errno.EIO, "Input/output error. Correct it, then run"),
    ],
)
def test_error_of_the_file_system_names_path_and_cure(code, message):
    line = f"somewhere: {message} the same command again; what is recorded is safe."
    with pytest.raises(StoreError, match=f"^{re.escape(line)}$"), store_errors(Path("somewhere")):
        raise OSError(code, os.strerror(code))


def test_json_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert json.loads(path.read_text()) == {"x": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS])
def test_file_systems_that_cannot_sync_a_folder_will_do(tmp_path, code, monkeypatch):
    fsync = os.fsync

    def refuse(number):
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(number)

    monkeypatch.setattr(os, "fsync", refuse)
    assert sync(tmp_path) is False
    write_json(tmp_path / "x.json", [1])
    assert (tmp_path / "x.json").read_text() == "[\n 1\n]\n"


def test_a_folder_that_could_not_be_synced_for_another_reason_is_an_error(tmp_path, monkeypatch):
    assert sync(tmp_path) is True

    def refuse(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        sync(tmp_path)
