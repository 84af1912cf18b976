"""Task history: what a task of an array knows of itself and of its packs, over its restarts."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from relusweep.cluster.backend import Outcome, failure
from relusweep.cluster.jobs.restarts import IDLE_STARTS, Restarts, steps_taken
from relusweep.cluster.slurm.allocation import node
from relusweep.cluster.slurm.scheduler import this_job
from relusweep.cluster.slurm.submission import Submission
from relusweep.sweep.pack import Pack
from relusweep.sweep.store.run_ids import MergedIds


class TaskHistory:
    """That of one task, kept in the folder of its submission."""

    def __init__(self, submission: Submission, number: int) -> None:
        self.submission, self.number, self.store = submission, number, submission.store
        self.kept: dict[str, Any] = {"idle_starts": 0} | submission.history(number)
        own, taken = submission.tasks[number].packs, self.kept.get("taken", [])
        self.known = {*own, *taken}  # packs, by their numbers
        self.own = list(submission.packs(own))
        self.taken = list(submission.packs(taken))  # from other tasks: no reason to give up
        self.outcomes: dict[str, list[str]] = {}  # by the pack as it was submitted
        self._origin: dict[str, str] = {}  # of a pack of which something has been recorded by others
        self._recorded, self._read = MergedIds(), set[Path]()

    # Its starts ------------------------------------------------------------------------------------------------------

    @property
    def restarts(self) -> Restarts:
        """Its starts in a row that got nowhere."""
        kept = self.kept
        return Restarts(kept.get("unready_starts", 0), kept["idle_starts"], kept.get("standing"))

    def start(self) -> None:
        """Count one more start, before anything is loaded."""
        self.kept["starts"] = 1 + self.kept.get("starts", 0)
        self.kept["unready_starts"] = self.restarts.begun().unready
        self._keep({"task": this_job(), "node": node(), "time": time.time()})

    def compare(self) -> None:
        """Count whether something came of the starts since the last comparison; loads torch."""
        left = self.own_left()
        standing = [-sum(len(pack.runs) for pack in left), steps_taken(self.store, (pack.id for pack in left))]
        now = self.restarts.compared(standing)
        self._keep({"standing": now.standing, "idle_starts": now.idle, "unready_starts": now.unready})

    def give_up(self) -> dict[str, list[str]]:
        """List its own packs as failed; return the outcomes."""
        for pack in self.own_left():
            error = f"its array task {this_job()} was started {IDLE_STARTS} times in a row without getting any further"
            outcome = Outcome(pack, "failed", error)
            self.store.write_failure(pack.id, failure(outcome, IDLE_STARTS))
            self.note(outcome)
        return self.outcomes

    # Its packs -------------------------------------------------------------------------------------------------------

    def begun(self, packs: Iterable[Pack]) -> Iterator[Pack]:
        """Yield packs and note which: of a task that dies, these are the suspects."""
        for pack in packs:
            begun = self.kept.get("begun", [])
            origin = self._origin.get(pack.id, pack.id)
            if origin not in begun:
                self._keep({"begun": [*begun, origin]})
            yield pack

    def note(self, outcome: Outcome) -> None:
        """Keep what became of a pack, or of a part of one for which memory was too little."""
        pack_id = self._origin.get(outcome.pack.id) or self._whole(outcome.pack)
        if self.outcomes.get(pack_id, [""])[0] != "failed":  # a part of it has
            self.outcomes[pack_id] = [outcome.kind, outcome.error]

    def _whole(self, part: Pack) -> str:
        """Return the id of the pack whose part this is."""
        packs = self.own + self.taken
        return next((pack.id for pack in packs if pack.id != part.id and part.runs[0] in pack.runs), part.id)

    def take(self, numbers: list[int]) -> list[Pack]:
        """Take over packs of other tasks, and note which, to go on with them after a restart; return them."""
        self.known.update(numbers)
        self._keep({"taken": [*self.kept.get("taken", []), *numbers]})
        packs = list(self.submission.packs(numbers))
        self.taken += packs
        return packs

    def left(self) -> list[Pack]:
        """Return what is to be trained yet, without what is recorded or has failed; what has a state comes first.

        What it took over when another worker had just begun it is left to that one.
        """
        self.taken = [pack for pack in self.taken if self.outcomes.get(pack.id, [""])[0] != "elsewhere"]
        return self._rest(self.own + self.taken)

    def own_left(self) -> list[Pack]:
        """Return what is left of the packs that were given to it."""
        return self._rest(self.own)

    def _rest(self, packs: list[Pack]) -> list[Pack]:
        self._recorded.add(self.store.recorded_since(self.submission.assignment.since, self._read))
        left = []
        for pack in packs:
            recorded = self._recorded.among({run.id for run in pack.runs})
            rest = Pack(tuple(run for run in pack.runs if run.id not in recorded)) if recorded else pack
            if rest.runs and self.outcomes.get(pack.id, [""])[0] != "failed":
                self._origin[rest.id] = pack.id
                left.append(rest)
        return sorted(left, key=lambda pack: not self.store.checkpoint(pack.id).exists())

    def _keep(self, changed: dict[str, Any]) -> None:
        self.kept |= changed
        self.submission.write_history(self.number, self.kept)
