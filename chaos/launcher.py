"""Launcher: a command in a process group of its own, whose output goes to a file."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil

PATIENCE = 600.0  # seconds for whatever takes some of them
MARK = "CHAOS_SCENE"  # variable that names the scene to which a process belongs


class Launcher:
    """One of them, with all that it starts."""

    def __init__(self, command: list[str], log: Path, variables: dict[str, str]) -> None:
        self.began = time.time()
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                cwd=log.parent, env=os.environ | {"OMP_NUM_THREADS": "1", MARK: str(log.parent)} | variables,
            )  # fmt: skip

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

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
        if self.runs:
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
        return self.process.wait(PATIENCE)


def stop(process: psutil.Process) -> None:
    """Have a process stand still."""
    process.send_signal(signal.SIGSTOP)
