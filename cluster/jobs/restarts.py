"""Restarts: how often in a row something was started without getting any further.

Progress decides whether a job, or a task of an array, is given up, and not the clock: one that is pre-empted a hundred
times and gets on each time goes on for ever.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from relusweep.sweep.store.store import Store

IDLE_STARTS = 3  # in a row, without a recorded run or a later state: then it gives up


@dataclass(frozen=True)
class Restarts:
    """The starts of one job or task, this one included, as they are kept from one to the next.

    A start is `unready` until it has loaded what it needs to see how far the sweep is; then it is `idle` if the sweep
    is no further than the last time, when it was `standing` so: two numbers, of which more is better and the first
    counts most.
    """

    unready: int = 0
    idle: int = 0
    standing: Sequence[float] | None = None

    @property
    def are_too_many(self) -> bool:
        """Whether too many in a row got nowhere."""
        return max(self.idle, self.unready) > IDLE_STARTS

    def begun(self) -> "Restarts":
        """Return them with one more, before anything is loaded: one that is stopped while it loads got nowhere."""
        return replace(self, unready=self.unready + 1)

    def compared(self, standing: Sequence[float]) -> "Restarts":
        """Return them after a look at how far the sweep is: idle ones count on only if it is no further."""
        is_no_further = self.standing is not None and list(standing) <= list(self.standing)
        return Restarts(0, self.unready + (self.idle if is_no_further else 0), standing)


def steps_taken(store: Store, pack_ids: Iterable[str]) -> float:
    """Return the sum of the steps in the states of some packs."""
    from relusweep.sweep.checkpoint import load_checkpoint  # loads torch

    states = (load_checkpoint(path) for pack_id in pack_ids if (path := store.checkpoint(pack_id)).exists())
    training = [saved["training"] for saved in states if saved]
    return float(sum(each["step"] + each["cursor"] / (1 + len(each["ids"])) for each in training))
