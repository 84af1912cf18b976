"""Small file: whatever lies in its place, reading ends soon and takes no more memory than was allowed."""

import os

import pytest

from relusweep.sweep.store.small_file import content_of


def test_content_is_returned_up_to_the_bound(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert content_of(path) == content_of(path, 5) == b"12345"
    with pytest.raises(OSError, match="has more than 4 bytes"):
        content_of(path, 4)


def test_pipes_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "device", "folder"):
        with pytest.raises(OSError, match=r"no regular file|Is a directory"):
            content_of(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        content_of(tmp_path / "none")
