"""Earlier: launchers of versions before this one, out of this checkout's history, on one store with those of today."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

import psutil

from chaos.faults import CONTAINER
from chaos.launcher import Launcher, stop
from chaos.scene import Scene
from chaos.stage import Maker, Stage, alone, has_own_disks
from chaos.sweep import Sweeps
from relusweep.sweep.store.store import Store

ROOT = Path(__file__).parent.parent
# The last one whose launchers record without a look at their lease, and one that looks, as those of today do.
UNFENCED, FENCED = "ae0d3e7", "90020b2"
# The former refuses, by exit code 2, a store that one of today has opened: its schema is a later one from then on.
_CODES = {UNFENCED: (0, 2), FENCED: (0,)}
_SECONDS_AGO = 200  # beyond a lease


class Earlier(Scene):
    """A scene in which a launcher of an earlier version can be started."""

    versions: Path

    def start_earlier(self, revision: str, workers: int = 1, within: tuple[str, ...] = ()) -> Launcher:
        """Start one."""
        return self.start(workers, within, PYTHONPATH=str(self.versions / revision))


def lacking() -> str:
    """Return why there are no earlier versions here; empty if there are."""
    for revision in (UNFENCED, FENCED):
        asked = ["git", "-C", str(ROOT), "cat-file", "-e", f"{revision}^{{commit}}"]
        if shutil.which("git") is None or subprocess.run(asked, capture_output=True, check=False).returncode:
            return f"no {revision} in the history of this checkout"
    return ""


def beside(scene: Earlier, revision: str, first: str, kill: bool) -> None:
    """Run both versions at once, of which the first one may be killed."""
    starts: dict[str, Callable[[], Launcher]] = {
        "earlier": lambda: scene.start_earlier(revision, scene.chance.choice((1, 2))),
        "today": lambda: scene.start(scene.chance.choice((1, 2))),
    }
    one = starts.pop(first)()
    scene.wait_until_it_trains(one)
    ((second, start),) = starts.items()
    other = start()
    time.sleep(scene.chance.uniform(0.0, 3.0))
    if kill:
        one.kill_all()
    else:
        scene.check_end(one, _codes(revision, first), f"{first}, the first of two versions")
    scene.check_end(other, _codes(revision, second), f"{second}, the other of two versions")


def _codes(revision: str, who: str) -> tuple[int, ...]:
    return _CODES[revision] if who == "earlier" else (0,)


def stood_still(scene: Earlier, revision: str) -> None:
    """Have an earlier version stand still beyond its lease, while one of today takes over; then it goes on."""
    first = scene.start_earlier(revision, 1, CONTAINER)
    scene.wait_until_it_trains(first)
    time.sleep(scene.chance.uniform(0.0, 0.5))
    group = first.group()
    for process in group:
        stop(process)
    long_ago = time.time() - _SECONDS_AGO
    for lease in (scene.store / "claims").glob("[!.]*.json"):
        os.utime(lease, (long_ago, long_ago))
    second = scene.start(2)
    time.sleep(scene.chance.uniform(0.0, 8.0))
    for process in reversed(group):
        with suppress(psutil.NoSuchProcess):
            process.resume()
    scene.check_end(second, (0,), "a launcher beside one that stood still")
    scene.check_end(first, _CODES[revision], "one that stood still")
    if revision == UNFENCED:
        _repair(scene)


def _repair(scene: Earlier) -> None:
    """Have `compact` remove the rows that a launcher without a fence has doubled, if it has; `verify` must see them."""
    if not (doubled := Store.open(scene.store).ledger().doubled()):
        return
    print(f"{scene.folder.name}: {doubled} rows doubled by {UNFENCED}; compact removes them", flush=True)
    told = _said("verify", scene.store)
    scene.check(
        f"{doubled} rows of runs/ are there twice" in told, f"verify did not see {doubled} doubled rows: {told}"
    )
    _said("compact", scene.store)


def _said(command: str, store: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "relusweep", command, store], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def _opened(folder: Path, sweeps: Sweeps) -> AbstractContextManager[Maker]:
    sweep, own_disks, versions = sweeps.lasting(0.6), has_own_disks(folder), folder / "versions"
    for revision in (UNFENCED, FENCED):
        (versions / revision).mkdir(parents=True)
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", revision], capture_output=True, check=True).stdout
        subprocess.run(["tar", "x", "-C", versions / revision], input=archive, check=True)

    def make(place: Path, chance: random.Random) -> Scene:
        scene = Earlier(place, sweep, chance, own_disks)
        scene.versions = versions
        return scene

    return alone(make)


STAGE = Stage(
    {
        **{
            f"{revision} begins, then one of today{', it is killed' if kill else ''}": partial(
                beside, revision=revision, first="earlier", kill=kill
            )
            for revision in (UNFENCED, FENCED) for kill in (False, True)
        },
        **{
            f"one of today begins, then {revision}{', the first is killed' if kill else ''}": partial(
                beside, revision=revision, first="today", kill=kill
            )
            for revision in (UNFENCED, FENCED) for kill in (False, True)
        },
        **{
            f"{revision} stands still beyond its lease": partial(stood_still, revision=revision)
            for revision in (UNFENCED, FENCED)
        },
    },
    _opened,
    lacking,
    share=0.04,
    faults_a_scene=3,
)  # fmt: skip
