"""Faults: each disturbs a sweep once, at a moment of chance."""

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

import psutil

from chaos import errors
from chaos.launcher import stop
from chaos.scene import Scene
from chaos.stage import Fault, Maker, Stage, alone, has_own_disks
from chaos.sweep import Sweeps

CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
_TERMINAL = (sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])")
_ELSEWHERE = 130  # seconds: beyond the lease of a process that cannot be seen


def killed(scene: Scene, workers: int, pick: str) -> None:
    """Kill -9: the launcher with all it has started, itself alone, a worker, or the origin of the workers."""
    launcher = scene.start(workers)
    scene.wait_for_chance(launcher)
    group = launcher.group()
    if pick == "all":
        launcher.kill_all()
    picked = {"worker": group[1:][-1:], "origin": group[1:2], "launcher": group[:1]}
    for process in picked.get(pick, []):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    scene.ended(launcher)
    psutil.wait_procs(group[1:], timeout=30)


def signalled(scene: Scene, number: int) -> None:
    """A stop signal, sometimes twice."""
    launcher = scene.start(scene.chance.choice((1, 2)))
    scene.wait_for_chance(launcher)
    launcher.signal(number)
    if scene.chance.random() < 0.3:
        time.sleep(scene.chance.uniform(0, 0.3))
        launcher.signal(number)
    scene.check_end(launcher, (0, 130), f"signal {number}")


def _terminal_closed(scene: Scene) -> None:
    """The terminal in which a launcher runs is closed."""
    launcher = scene.start(scene.chance.choice((1, 2)), _TERMINAL)
    scene.wait_until_it_trains(launcher)
    time.sleep(scene.chance.uniform(0.0, 1.5))
    inside = launcher.group()[1:]
    launcher.process.kill()  # it holds the terminal
    scene.ended(launcher)
    _, left = psutil.wait_procs(inside, timeout=60)
    scene.check(not left, f"terminal closed: {len(left)} processes go on")


def stood_still(scene: Scene) -> None:
    """A launcher in a container stands still beyond its lease, while another takes over; then it goes on."""
    first = scene.start(1, CONTAINER)
    scene.wait_until_it_trains(first)
    time.sleep(scene.chance.uniform(0.0, 0.5))
    group = first.group()
    for process in group:
        stop(process)
    long_ago = time.time() - _ELSEWHERE
    for lease in (scene.store / "claims").glob("[!.]*.json"):
        os.utime(lease, (long_ago, long_ago))
    second = scene.start(1)
    time.sleep(scene.chance.uniform(0.0, 8.0))
    for process in reversed(group):
        with suppress(psutil.NoSuchProcess):
            process.resume()
    for launcher in (second, first):
        scene.check_end(launcher, (0,), "of two launchers one")


def two(scene: Scene, within: tuple[str, ...], kill: bool) -> None:
    """Two launchers at once, of which one may be killed."""
    first = scene.start(1)
    time.sleep(scene.chance.uniform(0.0, 3.0))
    second = scene.start(scene.chance.choice((1, 2)), within)
    if kill:
        scene.wait_until_it_trains(first)
        first.kill_all()
    else:
        scene.ended(first)
    scene.check_end(second, (0,), "of two launchers the second")


def _clock(scene: Scene) -> None:
    """The wall clock is stepped: to the second launcher, the kernel was booted at another time."""
    stat = scene.folder / "stat"
    step = scene.chance.choice((-3600, -5, 5, 3600))
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    moved = [f"btime {int(line.split()[1]) + step}" if line.startswith("btime") else line for line in lines]
    stat.write_text("\n".join(moved) + "\n", encoding="ascii")
    two(scene, ("unshare", "--mount", "sh", "-c", f'mount --bind {stat} /proc/stat && exec "$@"', "sh"), False)


def _reader_gone(scene: Scene) -> None:
    """What reads the output goes away, as `head` does."""
    pipe = subprocess.Popen(["head", "-c", "1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert pipe.stdin
    launcher = subprocess.Popen(scene.command(), stdout=pipe.stdin, stderr=subprocess.DEVNULL, start_new_session=True)
    pipe.stdin.close()
    scene.codes.append(launcher.wait(120))
    pipe.wait(10)
    scene.check(scene.codes[-1] in (0, 130), f"reader gone: exit code {scene.codes[-1]}")


def _full(scene: Scene) -> None:
    """The disk is full for a while."""
    filler, launcher = scene.disk / "filler", scene.start(scene.chance.choice((1, 2)))
    scene.wait_for_chance(launcher)
    room = os.statvfs(scene.disk)
    with filler.open("wb", buffering=0) as file:
        try:
            for _ in range(room.f_bavail * room.f_frsize // 2**16 + 2):
                file.write(bytes(2**16))
        except OSError:
            pass  # it is full
    scene.check_end(launcher, (0, 1, 2), "full disk")
    filler.unlink()


def _read_only(scene: Scene) -> None:
    """The disk turns read-only."""
    launcher = scene.start(scene.chance.choice((1, 2)))
    scene.wait_for_chance(launcher)
    for _ in range(200):  # busy while something is being written
        if subprocess.run(["mount", "-o", "remount,ro", scene.disk], capture_output=True, check=False).returncode == 0:
            break
        time.sleep(0.01)
    scene.check_end(launcher, (0, 1, 2), "read-only disk")
    subprocess.run(["mount", "-o", "remount,rw", scene.disk], check=True)


def _refused(scene: Scene, call: str, number: int, times: int) -> None:
    """A call of the file system fails, in passing or for good."""
    variables = errors.variables(scene.store, call, number, scene.chance.choice((1, 2, 3, 5, 8, 13, 21)), times)
    launcher = scene.start(scene.chance.choice((1, 1, 2)), (), **variables)
    scene.check_end(launcher, (0, 1, 2), f"{call} refused with {number}")


def damaged(scene: Scene, folder: str, how: str) -> None:
    """A file is damaged while no one is there."""
    launcher = scene.start()
    scene.wait_until_it_trains(launcher)
    time.sleep(scene.chance.uniform(0.3, 2.0))
    launcher.kill_all()
    place = scene.store / folder
    if place.is_dir():
        found = sorted(path for path in place.iterdir() if path.is_file() and not path.name.startswith("."))
    else:
        found = [place] if place.exists() else []
    path = scene.chance.choice(found or sorted(path for path in scene.store.rglob("[!.]*.*") if path.is_file()))
    content = bytearray(path.read_bytes())
    if how == "bit" and content:
        content[scene.chance.randrange(len(content))] ^= 1 << scene.chance.randrange(8)
    elif how == "cut":
        del content[scene.chance.randrange(len(content) + 1) :]
    elif how == "empty":
        content.clear()
    elif how == "zeros":
        content[:] = bytes(len(content))
    path.unlink()
    if how == "folder":
        path.mkdir()
    else:
        path.write_bytes(content)
        long_ago = time.time() - _ELSEWHERE
        os.utime(path, (long_ago, long_ago))


def compacted(scene: Scene, kill: bool = True) -> None:
    """The store is compacted while it is written, and that may be killed."""
    launcher = scene.start(2)
    scene.wait_until_it_trains(launcher)
    compaction = scene.launch([sys.executable, "-m", "relusweep", "compact", str(scene.store)])
    if kill:
        time.sleep(scene.chance.uniform(0.5, 4.0))
        compaction.kill_all()
    else:
        scene.check_end(compaction, (0,), "a compaction")
    scene.check_end(launcher, (0,), "a launcher beside a compaction")


TABLES = ("runs", "trajectories", "weights")
FAULTS: dict[str, Fault] = {
    "kill -9 of everything": partial(killed, workers=2, pick="all"),
    "kill -9 of a launcher that trains": partial(killed, workers=1, pick="launcher"),
    "kill -9 of a launcher with workers": partial(killed, workers=2, pick="launcher"),
    "kill -9 of a worker": partial(killed, workers=2, pick="worker"),
    "kill -9 of the workers' origin": partial(killed, workers=2, pick="origin"),
    **{f"{number.name}": partial(signalled, number=number) for number in (
        signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)},
    "terminal closed": _terminal_closed,
    "SIGSTOP beyond the lease": stood_still,
    "two launchers": partial(two, within=(), kill=False),
    "two launchers, one killed": partial(two, within=(), kill=True),
    "two launchers, two PID namespaces": partial(two, within=CONTAINER, kill=False),
    "two launchers, a step of the clock": _clock,
    "reader of the output gone": _reader_gone,
    "full disk": _full,
    "read-only disk": _read_only,
    "compaction meanwhile, killed": compacted,
    **{f"{name}() refused, {'in passing' if times > 0 else 'for good'}: {code}":
        partial(_refused, call=name, number=number, times=times)
        for name in errors.CALLS for code, number in errors.NUMBERS.items() for times in (1, -1)},
    **{f"{how} in {folder}/": partial(damaged, folder=folder, how=how)
        for folder in (*TABLES, "checkpoints", "progress", "claims", "failures")
        for how in ("bit", "cut", "empty", "zeros")},
    **{f"{how} in {file}": partial(damaged, folder=file, how=how)
        for file in ("store.json", "spec.toml") for how in ("bit", "cut", "empty")},
    "folder in the place of a state": partial(damaged, folder="checkpoints", how="folder"),
}  # fmt: skip


def _opened(folder: Path, sweeps: Sweeps) -> AbstractContextManager[Maker]:
    sweep, own_disks = sweeps.lasting(0.6), has_own_disks(folder)
    return alone(lambda place, chance: Scene(place, sweep, chance, own_disks))


STAGE = Stage(FAULTS, _opened, share=0.74, faults_a_scene=12, is_alone=False)
