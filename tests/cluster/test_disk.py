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


def test_full_disk_at_the_first_command_is_named_and_leaves_nothing_in_the_way(
    on_small_disk: Callable[[str], dict[str, Any]],
) -> None:
    said = on_small_disk("fill(0)\nrun('full', small)\nfiller.unlink()\nrun('again', small)\n")
    assert_one_line(said["full"], "/disk/store", "the disk is full")
    assert (said["again"]["code"], said["again"]["err"], said["again"]["rows"]) == (0, "", 4)


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


def test_pack_that_needs_more_memory_than_there_is_fails_alone_and_is_tried_again(
    tmp_path: Path, tiny: Callable[..., Path]
) -> None:
    grid = "lr = [0.05], width = [4, 6_000]"  # the large network has activations of 8 × 6,000 × 1,000 bytes
    given: dict[str, Any] = {"n": 1000, "max_steps": 1, "optimizer": "'adam'"}  # the reference kernel trains these
    large = tiny(grid=grid, **given).rename(tmp_path / "large.toml")
    small = tiny(grid="lr = [0.05], width = [4]", **given)
    lines = (
        "import json, resource, sys, psutil\n"
        "from pathlib import Path\n"
        "from relusweep import main\n"
        "from sweep.store import Store\n"
        "small, large, store = sys.argv[1:]\n"
        "run = lambda spec: main(['run', spec, '--out', store, '--workers', '1'])\n"
        "assert run(small) == 0\n"
        "limit = psutil.Process().memory_info().vms + 40 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))\n"
        "assert run(large) == 1\n"
        "(failure,) = Store.open(store).failures()\n"
        "assert main(['status', store]) == 0\n"
        "assert main(['verify', store]) == 1\n"
        "assert run(large) == 1\n"
        "assert Store.open(store).failures()[0]['time'] > failure['time']\n"
        "print(json.dumps(failure))\n"
    )
    command = [sys.executable, "-c", lines, small, large, tmp_path / "store"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    failure = json.loads(done.stdout.splitlines()[-1])
    assert failure["attempts"] == 3
    assert len(failure["run_ids"]) == 1
    assert "allocate" in failure["error"]
    assert "Traceback" in failure["trace"]
    said = f"pack {failure['pack_id']} of 1 runs failed: {failure['error']}\n"
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 2 * 2
    assert "1 runs failed; see" in done.stderr
    assert "The same command tries them again." in done.stderr
    assert "1/2 runs · 0 converged, 1 at budget, 0 diverged · 1 pack(s) failed" in done.stdout
    assert f"pack {failure['pack_id']} of 1 runs failed on {failure['host']}: {failure['error']}" in done.stdout
    assert f"missing: {failure['run_ids'][0]}" in done.stdout
