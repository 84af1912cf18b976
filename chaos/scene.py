"""Scene: a store on a small disk of its own, the launchers on it, and what must hold when all faults are over."""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from chaos.launcher import MARK, PATIENCE, Launcher
from chaos.silence import MOST_SECONDS, Silence
from chaos.sweep import Sweep
from chaos.table import differences
from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.store.lease import remove_expired
from relusweep.sweep.store.repair import remove_leftovers
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store

_EMPTY = ("claims", "progress", "checkpoints", "failures")  # when all is done


@dataclass
class Scene:
    """A store and what is going on there, on this machine."""

    folder: Path
    sweep: Sweep
    chance: random.Random
    own_disk: bool
    codes: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # what went wrong on the way
    launchers: list[Launcher] = field(default_factory=list)
    silence: float = 0.0  # seconds without a sign of life
    is_settled: bool = False  # whether the last launcher found nothing more to do

    megabytes = 48  # of its disk
    most_silent = MOST_SECONDS
    leaving_seconds = 0.0  # that processes may take to leave when all is done

    @property
    def disk(self) -> Path:
        """Where the store's disk is mounted."""
        return self.folder / "disk"

    @property
    def store(self) -> Path:
        """The store."""
        return self.disk / "store"

    @property
    def log(self) -> Path:
        """What all launchers have printed."""
        return self.folder / "log"

    @contextmanager
    def set_up(self) -> Iterator["Scene"]:
        """Make the disk; at the end nothing of the scene is left, and no process of it."""
        self.disk.mkdir(parents=True)
        self.log.touch()
        if self.own_disk:
            size = f"size={self.megabytes}m"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "chaos", self.disk], check=True)
        try:
            with Silence(self.log, self.store, lambda: any(each.runs for each in self.launchers)) as silence:
                yield self
                self.silence = silence.longest
        finally:
            for process in self.orphans():
                with suppress(psutil.NoSuchProcess):  # it has just ended by itself
                    process.kill()
            if self.own_disk:
                subprocess.run(["umount", "--lazy", self.disk], check=True)
            shutil.rmtree(self.folder, ignore_errors=True)

    # What faults do --------------------------------------------------------------------------------------------------

    def command(self, workers: int = 1) -> list[str]:
        """Return the command of a sweep on this store, here."""
        given = [str(self.sweep.spec), "--out", str(self.store), "--checkpoint-minutes", "0"]
        return [sys.executable, "-m", "relusweep", "run", *given, "--workers", str(workers)]

    def launch(self, command: list[str], **variables: str) -> Launcher:
        """Start a command of ours."""
        self.is_settled = False
        launcher = Launcher(command, self.log, variables)
        self.launchers += [launcher] if "run" in command else []  # others may be silent until they are done
        return launcher

    def start(self, workers: int = 1, within: tuple[str, ...] = (), **variables: str) -> Launcher:
        """Start a launcher."""
        return self.launch([*within, *self.command(workers)], **variables)

    def ended(self, launcher: Launcher) -> int:
        """Wait for a launcher's end; keep its exit code."""
        code = launcher.wait()
        self.codes.append(code)
        self.is_settled = code == 0
        return code

    def check_end(self, launcher: Launcher, allowed: tuple[int, ...], what: str) -> None:
        """Wait for a launcher's end, which must be with one of these exit codes."""
        code = self.ended(launcher)
        self.check(code in allowed, f"{what}: exit code {code}")

    def wait_for_chance(self, launcher: Launcher) -> None:
        """Wait until a moment of chance, while it loads, trains, records or leaves."""
        if self.chance.random() < 0.2:  # while it loads; before it answers signals, no line of ours has been run
            end = time.monotonic() + PATIENCE
            while launcher.runs and not launcher.answers_signals() and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(self.chance.uniform(0.0, 2.0))
            return
        self.wait_until_it_trains(launcher)
        time.sleep(self.chance.uniform(0.0, 1.5))

    def wait_until_it_trains(self, launcher: Launcher) -> None:
        """Wait until a worker has shown how far it is, since then, or there is nothing to train."""
        end = time.monotonic() + PATIENCE
        while launcher.runs and time.monotonic() < end:
            if any(_changed(path) > launcher.began for path in (self.store / "progress").glob("[!.]*.json")):
                return
            time.sleep(0.01)

    def begin(self) -> None:
        """Have something to train: where all is recorded, compare it and begin anew."""
        if self.is_done():
            if not self.is_settled:
                self.finish()
            self.said += differences(self.store, self.sweep.undisturbed)
            shutil.rmtree(self.store)

    def is_done(self) -> bool:
        """Return whether all runs are recorded."""
        try:
            return not Store.open(self.sweep.undisturbed).recorded() - self._recorded()
        except RelusweepError:  # damaged, or not there
            return False

    def _recorded(self) -> RunIds:
        return Store.open(self.store).recorded()

    def finish(self) -> None:
        """Run the same command, undisturbed, until it is done."""
        self.check_end(self.start(), (0,), "the same command again")

    def check(self, holds: bool, claim: str) -> None:
        """Keep what does not hold."""
        if not holds:
            self.said.append(claim)

    # What must hold --------------------------------------------------------------------------------------------------

    def orphans(self) -> list[psutil.Process]:
        """Return processes that are about this scene, besides ourselves."""
        return [process for process in psutil.process_iter() if process.pid != os.getpid() and self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            about = any(str(self.disk) in part for part in [*process.cmdline(), process.cwd()])
            return about or process.environ().get(MARK) == str(self.folder)
        except psutil.Error:
            return False

    def violations(self) -> list[str]:
        """Return what does not hold though all faults are over and the sweep is done."""
        found = [*self.said, *differences(self.store, self.sweep.undisturbed)]
        verify = [sys.executable, "-m", "relusweep", "verify", str(self.store)]
        done = subprocess.run(verify, capture_output=True, text=True, check=False)
        found += [f"verify: {done.stdout}{done.stderr}"] if done.returncode or done.stdout.count("\n") != 1 else []
        found += [f"left behind: {path}" for path in self.left_behind()]
        text = self.log.read_text(encoding="utf-8", errors="replace")
        found += ["a traceback"] if re.search(r"^Traceback|^Exception ", text, flags=re.M) else []
        found += [f"left running: {_shown(process)}" for process in self._remaining()]
        return found

    def silent(self) -> list[str]:
        """Return whether launchers were silent for too long; known when the scene has been taken down."""
        return [f"no sign of life for {self.silence:.0f} s"] if self.silence > self.most_silent else []

    def _remaining(self) -> list[psutil.Process]:
        """Return what still runs though it had the time to leave."""
        end = time.monotonic() + self.leaving_seconds
        while (left := self.orphans()) and time.monotonic() < end:
            time.sleep(0.5)
        return left

    def left_behind(self) -> list[Path]:
        """Return what lies in folders that are empty when all is done, but for temporary files, which go in an hour."""
        store, folders = Store(self.store), [self.store / name for name in _EMPTY]
        long_ago = time.time() - 7200
        for path in (path for folder in folders for path in folder.glob(".*")):
            os.utime(path, (long_ago, long_ago))
        remove_leftovers(store)
        remove_expired(store)
        return sorted(path for folder in folders for path in folder.iterdir())


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it is gone
        return 0.0


def line_of(process: psutil.Process) -> str:
    """Return the command line of a process; empty if it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _shown(process: psutil.Process) -> str:
    return f"{process.pid} {line_of(process)[:100]}"
