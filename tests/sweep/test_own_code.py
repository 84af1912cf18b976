"""Own code: files of Python by the hash of their bytes, read where no other user can write, and never run by reading."""

import os
from pathlib import Path

import pytest

from relusweep.sweep import contents
from relusweep.sweep.dataset import DataError
from relusweep.sweep.own_code import CODE, content_of, source_of

TEXT = b"raise RuntimeError('it ran')\n"


@pytest.fixture(autouse=True)
def _forgotten(forget: object) -> None:
    """Begin as a process does that has read nothing."""
    assert callable(forget)
    forget()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my.py").write_bytes(TEXT)
    return tmp_path / "mine" / "my.py"


def test_source_is_the_hash_of_the_bytes_and_the_function_whatever_the_file_is_called(file: Path) -> None:
    content = content_of(TEXT)
    assert source_of("my.py:f", file.parent) == f"{content}:f"
    assert source_of("./my.py:g", file.parent) == f"{content}:g"
    file.rename(file.with_name("a:b.py"))
    assert source_of("a:b.py:f", file.parent) == f"{content}:f"
    assert content_of(TEXT + b"\n") != content


@pytest.mark.parametrize(
    "name", ["my.py", "my.py:", ":f", "my.txt:f", "my.py:f.g", "my.py:1", "a b", "my.py:f g", "x/y", ""]
)
def test_what_names_no_function_is_refused(file: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"names no function; expected 'FILE.py:FUNCTION'"):
        source_of(name, file.parent)


def test_file_that_is_not_there_or_no_file_or_too_long_is_refused(file: Path) -> None:
    folder = file.parent
    with pytest.raises(DataError, match=r"gone.py: no such file; expected Python, relative to the spec"):
        source_of("gone.py:f", folder)
    (folder / "folder.py").mkdir()
    os.mkfifo(folder / "pipe.py")
    (folder / "long.py").write_bytes(b"#" * (2**20 + 1))
    (folder / "round.py").symlink_to("round.py")
    for name in ("folder", "pipe", "long", "round"):
        with pytest.raises(
            DataError, match=rf"{name}.py: cannot be read \(.*\); expected a file of Python, at most 1 MiB"
        ):
            source_of(f"{name}.py:f", folder)
    with pytest.raises(DataError, match="cannot be read"):
        source_of("nul\0.py:f", folder)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_file_is_not_read_from_a_folder_that_others_can_write(file: Path, mode: int) -> None:
    file.parent.chmod(mode)
    with pytest.raises(
        DataError, match=r"my.py: not read, because another user could have put other code there \(.*mine can"
    ):
        source_of("my.py:f", file.parent)
    file.parent.chmod(0o700)
    file.parent.parent.chmod(0o777)
    with pytest.raises(DataError, match="chmod go-w"):
        source_of("my.py:f", file.parent)
    file.parent.parent.chmod(0o1777)  # as /tmp: what is one's own there stays one's own
    assert source_of("my.py:f", file.parent)
    file.parent.parent.chmod(0o700)


def test_file_that_others_can_write_is_not_read_nor_one_behind_a_link(file: Path, tmp_path: Path) -> None:
    (tmp_path / "link.py").symlink_to(file)
    assert source_of("link.py:f", tmp_path)
    file.chmod(0o666)
    for folder, name in ((file.parent, "my.py"), (tmp_path, "link.py")):
        with pytest.raises(DataError, match="my.py can be written by everyone"):
            source_of(f"{name}:f", folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_not_read(file: Path) -> None:
    os.chown(file, 12345, 12345)
    with pytest.raises(DataError, match="my.py belongs to another user, 12345"):
        source_of("my.py:f", file.parent)


def test_store_keeps_the_bytes_and_every_other_file_of_its_name_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, store = source_of("my.py:f", file.parent).partition(":")[0], tmp_path / "store"
    store.mkdir()
    CODE.keep(content, store, "my.py:f")
    kept = store / "files" / f"{content}.py"
    assert kept.read_bytes() == TEXT
    monkeypatch.setattr(CODE, "_known", {})
    with pytest.raises(DataError, match=rf"my.py:f: content {content} is not there \(no store was opened\)"):
        CODE.find(content, "my.py:f")
    contents.look_in(store)
    assert CODE.find(content, "my.py:f") == CODE.read_kept(kept) == TEXT
    kept.write_bytes(TEXT.replace(b"ran", b"run"))
    monkeypatch.setattr(CODE, "_known", {})
    with pytest.raises(DataError, match="differs from what was written"):
        CODE.find(content, "my.py:f")
    source_of("my.py:f", file.parent)
    CODE.keep(content, store, "my.py:f")
    assert kept.read_bytes() == TEXT
    monkeypatch.setattr(CODE, "_known", {})
    kept.parent.chmod(0o777)
    with pytest.raises(DataError, match="not read, because another user could have put other code there"):
        CODE.find(content, "my.py:f")
