"""Scene: a store on a small disk of its own, the launchers on it, and what must hold when all faults are over."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from chaos.table import differences
from relusweep.sweep.store.lease import remove_expired
from relusweep.sweep.store.repair import remove_leftovers
from relusweep.sweep.store.store import Store

_DISK = "48m"
_PATIENCE = 120.0  # seconds for whatever takes some of them
_EMPTY = ("claims", "progress", "checkpoints", "failures")  # when all is done

# Packs of two shapes that the fused kernel trains and one of the reference's; moments and weights of all.
SPEC = """\
name = "chaos"
fixed = {{ problem = "sine", n = 8, d = 2, n_test = 4, tolerance = 0.0 }}
[measure]
every = "log:3"
save_weights = true
[[block]]
fixed = {{ max_steps = {steps} }}
grid = {{ lr = [0.05, 0.1], seed = [0, 1], width = [3, 4] }}
[[block]]
fixed = {{ max_steps = {few}, optimizer = "adam", width = 4 }}
grid = {{ lr = [0.001, 0.01], seed = [0, 1] }}
"""


class Launcher:
    """A command in a process group of its own, whose output goes to a file."""

    def __init__(self, command: list[str], log: Path, variables: dict[str, str]) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                cwd=log.parent, env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
            )  # fmt: skip

    def group(self) -> list[psutil.Process]:
        """Return it with all that it has started."""
        try:
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def answers_signals(self) -> bool:
        """Return whether it has chosen an answer to SIGTERM."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        except OSError:
            return False
        return bool(int(status.split("SigCgt:")[1].split()[0], 16) >> (signal.SIGTERM - 1) & 1)

    def signal(self, number: int) -> None:
        """Send it a signal; nothing if it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def kill_all(self) -> None:
        """Kill it with all that it has started, as a loss of power does."""
        for process in self.group():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.wait()

    def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(_PATIENCE)


@dataclass
class Scene:
    """A store and what is going on there."""

    folder: Path
    spec: Path
    undisturbed: Path
    chance: random.Random
    own_disk: bool
    codes: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # what went wrong on the way

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
        if self.own_disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "chaos", self.disk], check=True)
        try:
            yield self
        finally:
            for process in self.orphans():
                process.kill()
            if self.own_disk:
                subprocess.run(["umount", "--lazy", self.disk], check=True)
            shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, workers: int = 1) -> list[str]:
        """Return the command of a sweep on this store."""
        given = [str(self.spec), "--out", str(self.store), "--workers", str(workers), "--checkpoint-minutes", "0"]
        return [sys.executable, "-m", "relusweep", "run", *given]

    def start(self, workers: int = 1, within: tuple[str, ...] = (), **variables: str) -> Launcher:
        """Start a launcher."""
        return Launcher([*within, *self.command(workers)], self.log, variables)

    def ended(self, launcher: Launcher) -> int:
        """Wait for a launcher's end; keep its exit code."""
        code = launcher.wait()
        self.codes.append(code)
        return code

    def disturbed(self, launcher: Launcher, disturb: Callable[[Launcher], None]) -> None:
        """Disturb a launcher at a moment of chance, while it loads, trains, records or leaves; wait for its end."""
        self.wait_for_chance(launcher)
        disturb(launcher)
        self.ended(launcher)

    def wait_for_chance(self, launcher: Launcher) -> None:
        """Wait until a moment of chance."""
        if self.chance.random() < 0.2:  # while it loads; before it answers signals, no line of ours has been run
            end = time.monotonic() + _PATIENCE
            while launcher.process.poll() is None and not launcher.answers_signals() and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(self.chance.uniform(0.0, 2.0))
            return
        self.wait_until_it_trains(launcher)
        time.sleep(self.chance.uniform(0.0, 1.5))

    def wait_until_it_trains(self, launcher: Launcher) -> None:
        """Wait until a worker has shown how far it is, or there is nothing to train."""
        end = time.monotonic() + _PATIENCE
        while launcher.process.poll() is None and time.monotonic() < end:
            if any((self.store / "progress").glob("[!.]*.json")):
                return
            time.sleep(0.01)

    def finish(self) -> None:
        """Run the same command, undisturbed, until it is done."""
        self.check(self.ended(self.start()) == 0, "the same command again did not end with 0")

    def check(self, holds: bool, claim: str) -> None:
        """Keep what does not hold."""
        if not holds:
            self.said.append(claim)

    def orphans(self) -> list[psutil.Process]:
        """Return processes that are about this store, besides ourselves."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = any(str(self.disk) in part for part in [*process.cmdline(), process.cwd()])
                if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def violations(self) -> list[str]:
        """Return what does not hold though all faults are over and the sweep is done."""
        found = [*self.said, *differences(self.store, self.undisturbed)]
        verify = [sys.executable, "-m", "relusweep", "verify", str(self.store)]
        done = subprocess.run(verify, capture_output=True, text=True, check=False)
        found += [f"verify: {done.stdout}{done.stderr}"] if done.returncode or done.stdout.count("\n") != 1 else []
        found += [f"left behind: {path}" for path in self.left_behind()]
        text = self.log.read_text(encoding="utf-8", errors="replace")
        found += ["a traceback"] if re.search(r"^Traceback|^Exception ", text, flags=re.M) else []
        found += [f"left running: {process.cmdline()}" for process in self.orphans()]
        return found

    def left_behind(self) -> list[Path]:
        """Return what lies in folders that are empty when all is done, but for temporary files, which go in an hour."""
        store, folders = Store(self.store), [self.store / name for name in _EMPTY]
        long_ago = time.time() - 7200
        for path in (path for folder in folders for path in folder.glob(".*")):
            os.utime(path, (long_ago, long_ago))
        remove_leftovers(store)
        remove_expired(store)
        return sorted(path for folder in folders for path in folder.iterdir())


def stop(process: psutil.Process) -> None:
    """Have a process stand still."""
    process.send_signal(signal.SIGSTOP)
