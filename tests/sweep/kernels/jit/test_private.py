import contextlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from relusweep.sweep.kernels.jit.private import weakness


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "theirs" / "cache"
    made.mkdir(parents=True, mode=0o700)
    return made


def test_a_folder_below_ours_and_root_s_is_private(folder: Path) -> None:
    assert weakness(folder) is None
    assert weakness(Path(sys.prefix)) is None


@pytest.mark.parametrize(
    ("mode", "why"), [(0o777, "can be written by everyone"), (0o702, "can be written by everyone"), (0o1777, None)]
)
def test_who_can_write_on_the_way_can_replace_what_lies_below(folder: Path, mode: int, why: str | None) -> None:
    folder.parent.chmod(mode)
    assert weakness(folder) == (f"{folder.parent} {why}" if why else None)


def test_a_folder_that_everyone_may_write_to_is_no_place_for_programs(folder: Path) -> None:
    folder.chmod(0o1777)
    assert weakness(folder) == f"{folder} can be written by everyone"


def test_a_link_is_as_safe_as_where_it_leads(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert weakness(tmp_path / "link") is None
    folder.parent.chmod(0o777)
    assert weakness(tmp_path / "link") == f"{folder.parent} can be written by everyone"


def test_a_folder_that_cannot_be_looked_at_is_not_taken(folder: Path) -> None:
    assert weakness(folder / "none") == f"{folder / 'none'}: No such file or directory"


def test_groups_of_many_are_other_users(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relusweep.sweep.kernels.jit.private._is_of_one", lambda group: False)
    folder.parent.chmod(0o770)
    assert weakness(folder) == f"{folder.parent} can be written by its group, {folder.stat().st_gid}"
    monkeypatch.setattr("relusweep.sweep.kernels.jit.private._is_of_one", lambda group: True)
    assert weakness(folder) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_another_user_made_first_is_his(folder: Path) -> None:
    os.chown(folder.parent, 12345, 12345)
    assert weakness(folder) == f"{folder.parent} belongs to another user, 12345"


def test_a_list_of_others_counts_though_the_group_is_one_s_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an access control list, what the mode shows as the group's is what any of its entries may have."""
    monkeypatch.setattr("relusweep.sweep.kernels.jit.private._is_of_one", lambda group: True)
    folder.chmod(0o770)
    assert weakness(folder) is None
    entries = [(0x01, 7, -1), (0x02, 7, 12345), (0x04, 7, -1), (0x10, 7, -1), (0x20, 0, -1)]
    packed = b"\2\0\0\0" + b"".join(struct.pack("<HHi", *each) for each in entries)
    with contextlib.suppress(OSError):  # a file system without lists
        os.setxattr(folder, "system.posix_acl_access", packed)
    if "system.posix_acl_access" not in os.listxattr(folder):
        monkeypatch.setattr(os, "listxattr", lambda path: ["system.posix_acl_access"])
    assert "can be written by its group" in str(weakness(folder))


def test_what_was_checked_is_what_is_used(folder: Path, tmp_path: Path) -> None:
    """A link in a folder of someone else's may lead elsewhere a moment later."""
    kept = tmp_path / "ours"
    kept.mkdir(mode=0o700)
    (folder / "link").symlink_to(kept)
    folder.chmod(0o777)
    code = (
        "from relusweep.sweep.kernels.jit.compiled import cache_directory\n"
        "from relusweep.sweep.kernels.jit.program import user_cache, _own\n"
        "print(user_cache(), cache_directory(), _own(), sep='\\n')\n"
    )
    link = str(folder / "link")
    where = os.environ | {"XDG_CACHE_HOME": link, "NUMBA_CACHE_DIR": link, "TMPDIR": link}
    done = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, text=True, check=True)
    for used in done.stdout.splitlines():
        assert Path(used).is_relative_to(kept), used


def test_a_folder_that_others_could_write_until_now_is_not_taken(tmp_path: Path) -> None:
    """Closing it would keep what they have put there."""
    kernels = tmp_path / "relusweep" / "kernels"
    kernels.mkdir(parents=True)
    kernels.chmod(0o777)
    code = "from relusweep.sweep.kernels.jit.program import user_cache\nprint(user_cache())"
    where = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


def test_programs_are_neither_kept_in_nor_loaded_from_where_others_write(folder: Path, tmp_path: Path) -> None:
    folder.parent.chmod(0o777)
    code = (
        "from relusweep.sweep.kernels.jit.compiled import cache_directory\n"
        "from relusweep.sweep.kernels.jit.program import program, user_cache\n"
        "import sys\n"
        "assert user_cache() is None\n"
        "print(cache_directory())\n"
        "print(program('def f(): return 3').__file__)\n"
    )
    command = [sys.executable, "-c", code]
    where = os.environ | {"XDG_CACHE_HOME": str(folder), "NUMBA_CACHE_DIR": str(folder), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=where, capture_output=True, text=True, check=True)
    kept, loaded = done.stdout.splitlines()
    assert kept == "None"
    assert Path(loaded).is_relative_to(tmp_path)
    refused = subprocess.run(command, env=where | {"TMPDIR": str(folder)}, capture_output=True, text=True, check=False)
    message = f"CacheError: TMPDIR: {folder.parent} can be written by everyone; expected a folder of yours"
    assert message in refused.stderr
