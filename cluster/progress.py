"""Progress: where a sweep stands, from the files of its store alone; any process on any host may look."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from relusweep.sweep.store.lease import active_packs
from relusweep.sweep.tally import Tally

_LINE_SECONDS = 10  # between lines where there is no terminal


@dataclass(frozen=True)
class Snapshot:
    """Numbers of one moment: recorded runs by status, and what the workers of the last minute are doing."""

    planned: int
    recorded: dict[str, int]
    in_packs: dict[str, int]
    training: int
    workers: int
    run_steps_per_second: float
    failed_packs: int
    compiling: int = 0  # of the workers

    @property
    def done(self) -> int:
        """Runs in the store."""
        return sum(self.recorded.values())

    @property
    def ended(self) -> int:
        """Runs in the store, and those that have ended in packs still in training."""
        return self.done + sum(self.in_packs.values())


@dataclass
class Watcher:
    """Takes snapshots of the planned runs of a store."""

    tally: Tally
    _started: tuple[float, int] | None = None

    def look(self) -> Snapshot:
        """Return the sum of all that is recorded and in training; reads what has changed."""
        self.tally.look()
        store = self.tally.store
        living = active_packs(store)
        alive = [p for p in store.progress() if living.get(p["pack_id"]) == p["worker"]]  # the dead left files too
        working = [p for p in alive if not store.has_pack(p["pack_id"])]
        in_packs: Counter[str] = sum((Counter(p["ended"]) for p in working), Counter())
        return Snapshot(
            planned=self.tally.count,
            recorded=self.tally.by_status,
            in_packs=dict(in_packs),
            training=sum(p["runs"] for p in working) - sum(in_packs.values()),
            workers=len(working),
            run_steps_per_second=sum(p["run_steps"] / max(p["seconds"], 1e-9) for p in working),
            failed_packs=len(store.failures(self.tally.missing)),
            compiling=sum(p.get("compiling", False) for p in working),
        )

    def seconds_left(self, snapshot: Snapshot) -> float | None:
        """Return an estimate of the time to the end from the rate at which runs have ended since the first look."""
        now = time.monotonic()
        if self._started is None:
            self._started = (now, snapshot.ended)
        then, ended = self._started
        rate = (snapshot.ended - ended) / max(now - then, 1e-9)
        return (snapshot.planned - snapshot.ended) / rate if rate > 0 else None


def sentence(snapshot: Snapshot, seconds_left: float | None) -> str:
    """Return a snapshot in one line."""
    total = Counter(snapshot.recorded) + Counter(snapshot.in_packs)
    parts = [
        f"{snapshot.ended}/{snapshot.planned} runs",
        f"{total['converged']} converged, {total['budget']} at budget, {total['diverged']} diverged",
    ]
    if snapshot.training:
        parts.append(f"{snapshot.training} training on {snapshot.workers} worker(s)")
        if snapshot.compiling:
            parts.append(f"{snapshot.compiling} compiling a program")
        parts.append(f"{snapshot.run_steps_per_second:,.0f} run-steps/s")
        if seconds_left is not None:
            parts.append(f"{duration(seconds_left)} left")
    if snapshot.failed_packs:
        parts.append(f"{snapshot.failed_packs} pack(s) failed")
    return " · ".join(parts)


def grouped(messages: Iterable[tuple[str, str]], noun: str) -> Iterator[str]:
    """Yield a message that holds of several once: of the first, by its name, and of so many more.

    Args:
        messages: Names, and the message about each.
        noun: What one of them is called.
    """
    names: dict[str, list[str]] = {}
    for name, message in messages:
        names.setdefault(message, []).append(name)
    for message, (first, *others) in names.items():
        more = f" and {len(others)} more {noun}{'s' if len(others) > 1 else ''}" if others else ""
        yield f"{first}{more}{message}"


def failed_packs(packs: Iterable[tuple[str, int, str]]) -> Iterator[str]:
    """Yield which packs failed, each given by its id, its runs, and how: `: error`, or ` on host: error`."""
    return grouped(((f"pack {name} of {runs} runs", f" failed{how}") for name, runs, how in packs), "pack")


def duration(seconds: float) -> str:
    """Return a time as a person would write it: 42 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Display:
    """A bar that moves in a terminal; a line now and then elsewhere."""

    def __init__(self, watcher: Watcher, console: Console) -> None:
        self.watcher, self.console = watcher, console
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last = time.monotonic() if self.live is None else 0.0

    def __enter__(self) -> Callable[[], None]:
        if self.live:
            self.live.start()
        return self.refresh

    def __exit__(self, *_: object) -> None:
        self.refresh(force=True)
        if self.live:
            self.live.stop()

    def refresh(self, *, force: bool = False) -> None:
        """Show the present state, unless it was shown just now."""
        now = time.monotonic()
        if not force and now - self._last < (0.5 if self.live else _LINE_SECONDS):
            return
        self._last = now
        snapshot = self.watcher.look()
        line = sentence(snapshot, self.watcher.seconds_left(snapshot))
        if self.live is None:
            self.console.print(line, highlight=False, soft_wrap=True)
            return
        shown = Table.grid(padding=(0, 1))
        shown.add_row(ProgressBar(total=max(snapshot.planned, 1), completed=snapshot.ended, width=30), line)
        self.live.update(shown, refresh=True)
