"""Retries: packs whose job died, and which of them are worth another attempt."""

from collections import Counter
from collections.abc import Iterator

from relusweep.cluster.backend import ATTEMPTS, Outcome, failure
from relusweep.cluster.jobs.restarts import steps_taken
from relusweep.cluster.slurm.submission import Submission
from relusweep.sweep.pack import Pack
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store


class Retries:
    """Packs of tasks that died, and how often each has without getting further."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.packs: list[Pack] = []
        self.since = 0.0
        self.attempts: Counter[str] = Counter()
        self.steps: dict[str, float] = {}

    def take(self) -> Iterator[Pack]:
        """Return the packs to be submitted again, but for those that another task has recorded meanwhile."""
        packs, self.packs = self.packs, []
        recorded = self.store.recorded_since(self.since, set()) if packs else RunIds()
        return (pack for pack in packs if not {run.id for run in pack.runs} <= recorded)

    def outcomes(self, submission: Submission, number: int, state: str) -> Iterator[Outcome]:
        """Keep the packs of a dead task that are worth another attempt; yield the outcomes of the others."""
        begun = submission.history(number).get("begun") or [
            submission.bundles[pack].pack_id for pack in submission.tasks[number].packs
        ]
        job = submission.slurm_id(number) or f"{submission.id}.{number}"
        self.since = submission.assignment.since
        recorded = self.store.recorded_since(self.since, set())
        for pack in submission.packs(submission.tasks[number].packs):
            rest = tuple(run for run in pack.runs if run.id not in recorded)
            if not rest:
                yield Outcome(pack, "recorded")
                continue
            steps = steps_taken(self.store, [pack.id])
            if steps > self.steps.get(pack.id, 0.0) or len(rest) < len(pack.runs):
                self.attempts[pack.id] = 0
            elif pack.id in begun:
                self.attempts[pack.id] += 1
            self.steps[pack.id] = steps
            if state == "CANCELLED" or self.attempts[pack.id] >= ATTEMPTS:
                times = f", {self.attempts[pack.id]} times without getting further" if state != "CANCELLED" else ""
                outcome = Outcome(pack, "failed", f"its job {job} ended as {state}{times}. See {submission.path}/logs")
                self.store.write_failure(pack.id, failure(outcome, self.attempts[pack.id]))
                yield outcome
            else:
                self.packs.append(pack if len(rest) == len(pack.runs) else Pack(rest))
