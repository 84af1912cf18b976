"""Campaign: scenes on all stages, side by side, until the time is up."""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from chaos.outcomes import Outcomes, Tally
from chaos.scene import Scene
from chaos.stage import Maker, Stage
from chaos.sweep import Sweeps


class Campaign:
    """Faults of some stages, a few in each scene, drawn so that all have their turn before one has another."""

    def __init__(
        self, folder: Path, stages: dict[str, Stage], seed: int, only: str = "", sweeps: Sweeps | None = None
    ) -> None:
        """Make a campaign.

        Args:
            folder: For all that it needs meanwhile.
            stages: By their names.
            seed: Of all that is left to chance.
            only: Leave out faults whose name does not contain this.
            sweeps: That have been trained already.
        """
        self.folder, self.seed, self.sweeps = folder, seed, sweeps or Sweeps(folder)
        self.stages = {name: stage for name, stage in stages.items() if any(only in fault for fault in stage.faults)}
        names = {name: [fault for fault in stage.faults if only in fault] for name, stage in self.stages.items()}
        self.outcomes = Outcomes({name: {fault: Tally() for fault in faults} for name, faults in names.items()})
        self._waiting: dict[str, list[str]] = {name: [] for name in self.stages}
        self._chances = {name: random.Random(f"{seed} {name}") for name in self.stages}
        self._scenes, self._busy = Counter[str](), Counter[str]()
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def play(self, seconds: float, lanes: int = 1) -> Outcomes:
        """Play scenes for so long, in so many lanes side by side; return what came of them."""
        with ExitStack() as opened:
            makers = dict(self._opened(opened))
            end = time.monotonic() + seconds
            # what a stage has started ends with the thread that did: so they are opened by this one
            with ThreadPoolExecutor(lanes) as threads:
                for lane in [threads.submit(self._lane, makers, end) for _ in range(lanes) if makers]:
                    lane.result()
        return self.outcomes

    def _opened(self, opened: ExitStack) -> Iterable[tuple[str, Maker]]:
        for name, stage in self.stages.items():
            if reason := stage.lacking():
                self.outcomes.reasons[name] = reason
                print(f"{name}: not disturbed: {reason}", flush=True)
            else:
                yield name, opened.enter_context(stage.opened(self.folder, self.sweeps))

    def _lane(self, makers: dict[str, Maker], end: float) -> None:
        while time.monotonic() < end:
            with self._lock:
                name = self._next(makers)
                self._busy[name] += 1
                self._scenes[name] += 1
                number, faults = self._scenes[name], self._drawn(name) if name else []
            began = time.monotonic()
            try:
                if name:
                    self._play(name, number, faults, makers[name], end)
                else:
                    time.sleep(0.5)
            finally:
                with self._lock:
                    self._busy[name] -= 1
                    self._spent[name] += time.monotonic() - began

    def _next(self, makers: dict[str, Maker]) -> str:
        """Return a stage that had no scene yet, or the one that has had least of its share.

        Nothing if all are busy whose scenes come one by one.
        """
        free = [name for name in makers if not (self.stages[name].is_alone and self._busy[name])]
        return min(free, key=lambda n: (self._scenes[n] > 0, self._spent[n] / self.stages[n].share), default="")

    def _drawn(self, name: str) -> list[str]:
        waiting, faults = self._waiting[name], [*self.outcomes.tallies[name]]
        waiting += [] if waiting else self._chances[name].sample(faults, len(faults))
        return [waiting.pop() for _ in range(min(self.stages[name].faults_a_scene, len(waiting)))]

    def _play(self, name: str, number: int, faults: list[str], make: Maker, end: float) -> None:
        """Play a scene; faults for which there is no time left are not injected."""
        began, place = time.monotonic(), f"{name} {number}"
        scene = make(self.folder / place.replace(" ", "-"), random.Random(f"{self.seed} {place}"))
        injected: list[str] = []
        with scene.set_up():
            try:
                for fault in faults:
                    if injected and time.monotonic() > end:
                        break
                    injected.append(fault)
                    self._inject(scene, name, fault)
                scene.finish()
                broken = scene.violations()
            except Exception as error:  # a command that does not come to an end, say
                broken = [*scene.said, f"{type(error).__name__}: {error}"]
            text = scene.log.read_text(errors="replace")
        broken += scene.silent()
        with self._lock:
            for fault in injected if broken else ():
                self.outcomes.tallies[name][fault].broken += broken
            self.outcomes.silence[name] = max(self.outcomes.silence.get(name, 0.0), scene.silence)
            held = f"BROKEN: {'; '.join(broken)}\n{text}" if broken else "held"
            took = f"{time.monotonic() - began:.0f} s · {self.outcomes.injected} faults"
            print(f"{place}: {'; '.join(injected)} · {took} · {held}", flush=True)

    def _inject(self, scene: Scene, name: str, fault: str) -> None:
        scene.begin()
        before = len(scene.codes)
        self.stages[name].faults[fault](scene)
        with self._lock:
            tally = self.outcomes.tallies[name][fault]
            tally.injected += 1
            tally.codes.update(scene.codes[before:])
