"""Full and read-only disks: real ones, small, mounted for a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

START = """
import contextlib, io, json, os, subprocess, sys
from pathlib import Path
from relusweep.cli import main
from relusweep.sweep.store.store import Store

disk, small, large = map(Path, sys.argv[1:])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=True)
store, filler, said = disk / "store", disk / "filler", {}

def cli(name, *arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    said[name] = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
    if store.exists():
        said[name]["rows"] = len(Store(store).recorded())

def fill(leave):
    '''Take all of the disk but so many bytes.'''
    room = os.statvfs(disk)
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize // 4096 * 4096 - leave))

def run(name, spec, *options):
    cli(name, "run", spec, "--out", store, "--workers", 1, *options)

"""


END = "\nprint(json.dumps(said))\n"


@pytest.fixture
def on_small_disk(tmp_path: Path, tiny: Callable[..., Path]) -> Callable[[str], dict[str, Any]]:
    """Run lines on a disk of 2 MiB, with a sweep of 4 runs and one of 4 more; gives what each command said."""
    private = ["unshare", "--map-root-user", "--mount"]
    trial = subprocess.run([*private, "true"], capture_output=True, text=True, check=False)
    if trial.returncode:
        pytest.skip(f"needs user namespaces: {trial.stderr.strip()}")
    large = tiny(grid="lr = [0.05, 0.1], seed = [0, 1, 2, 3]", measure="save_weights = true")
    large = large.rename(tmp_path / "large.toml")
    small = tiny(measure="save_weights = true")
    (tmp_path / "disk").mkdir()

    def call(lines: str) -> dict[str, Any]:
        done = subprocess.run(
            [*private, sys.executable, "-c", START + lines + END, tmp_path / "disk", small, large],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


def assert_one_line(said: dict[str, Any], *words: str) -> None:
    assert said["code"] == 2, said
    assert said["err"].count("\n") == 1, said["err"]
    for word in words:
        assert word in said["err"]


@pytest.mark.slow
def test_full_disk_is_named_recorded_rows_survive_and_freed_space_is_all_it_takes(
    on_small_disk: Callable[[str], dict[str, Any]],
) -> None:
    said = on_small_disk(
        "run('first', small)\n"
        "fill(0)\n"
        "run('full', large)\n"
        "cli('status', 'status', store)\n"
        "filler.unlink(); fill(24 * 1024)\n"  # room for the small files, not for a part
        "run('fuller', large)\n"
        "cli('verify', 'verify', store)\n"
        "filler.unlink()\n"
        "run('again', large)\n"
        "cli('whole', 'verify', store)\n"
    )
    assert (said["first"]["code"], said["first"]["rows"]) == (0, 4)
    assert_one_line(said["full"], "/disk/store", "the disk is full", "Free some space, then run the same command again")
    assert_one_line(said["fuller"], "/disk/store", "the disk is full", "what is recorded is safe")
    assert [said[name]["rows"] for name in ("full", "fuller", "status", "verify")] == [4] * 4
    assert said["status"]["code"] == 0
    assert said["status"]["out"].startswith("4/")
    assert "recorded 4 + missing" in said["verify"]["out"]
    assert "broken:" not in said["verify"]["out"]
    assert (said["again"]["code"], said["again"]["rows"]) == (0, 8)
    assert "planned 8 = recorded 8 + missing 0" in said["whole"]["out"]


@pytest.mark.slow
def test_full_disk_at_the_first_command_is_named_and_leaves_nothing_in_the_way(
    on_small_disk: Callable[[str], dict[str, Any]],
) -> None:
    said = on_small_disk("fill(0)\nrun('full', small)\nfiller.unlink()\nrun('again', small)\n")
    assert_one_line(said["full"], "/disk/store", "the disk is full")
    assert (said["again"]["code"], said["again"]["err"], said["again"]["rows"]) == (0, "", 4)


@pytest.mark.slow
def test_full_disk_at_a_checkpoint_is_named(on_small_disk: Callable[[str], dict[str, Any]]) -> None:
    said = on_small_disk(
        "run('first', small)\n"
        "fill(16 * 1024)\n"  # room for progress and claim, not for a state
        "run('state', large, '--checkpoint-minutes', 0)\n"
        "said['left'] = [str(path) for path in (*store.glob('*/.*.tmp'), *store.glob('failures/*'))]\n"
        "filler.unlink()\n"
        "run('again', large)\n"
    )
    assert_one_line(said["state"], "/disk/store", "the disk is full")
    assert said["left"] == []
    assert (said["state"]["rows"], said["again"]["code"], said["again"]["rows"]) == (4, 0, 8)


@pytest.mark.slow
def test_read_only_disk_is_named_and_still_read(on_small_disk: Callable[[str], dict[str, Any]]) -> None:
    said = on_small_disk(
        "run('first', small)\n"
        "subprocess.run(['mount', '-o', 'remount,ro', disk], check=True)\n"
        "run('extend', large)\n"
        "cli('new', 'run', small, '--out', disk / 'other')\n"
        "cli('export', 'export', store, sorted(Store(store).recorded())[0], disk / 'run.npz')\n"
        "cli('compact', 'compact', store)\n"
        "for name in ('status', 'verify'): cli(name, name, store)\n"
        "cli('plan', 'plan', large, '--out', store)\n"
    )
    assert said["first"]["code"] == 0
    for name in ("extend", "new", "export"):
        assert_one_line(said[name], "/disk/", "the file system is read-only", "Choose another --out")
    assert [said[name]["code"] for name in ("status", "verify", "plan", "compact")] == [0] * 4
    assert "4/4 runs" in said["status"]["out"] or "4/8 runs" in said["status"]["out"]
    assert said["verify"]["rows"] == 4
