"""Queues: what of a store waits with a scheduler: the contract of one, the literal list, and all of a store as one.

A store is asked, and not a back-end: `status` and `cancel` know of no machine file, and a launcher that trains on this
machine leaves alone what jobs of an earlier one are to train.
"""

import importlib
from typing import Protocol

from relusweep.sweep.store.lease import active_packs
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store


class Queue(Protocol):
    """The jobs that a scheduler has of a store. Made from the store; asks so rarely that no scheduler is held up."""

    @property
    def error(self) -> str:
        """In one line, why the scheduler could not be asked the last time; empty if it could."""
        ...

    @property
    def are_over(self) -> bool | None:
        """Whether none of the jobs will train any more, by the last look; None if there never was one."""
        ...

    def runs(self, *, close: bool = True) -> RunIds:
        """Return the ids of the runs that jobs are still to train; some may be recorded by now.

        Args:
            close: Write down which submissions have ended.

        Raises:
            BackendError: if there are jobs, and this machine cannot ask about them.
        """
        ...

    def jobs(self) -> list[str]:
        """Return what the scheduler calls the jobs that may yet train; asks nothing."""
        ...

    def describe(self) -> list[str]:
        """Return in a few lines what the scheduler has."""
        ...

    def cancel(self) -> list[str]:
        """Cancel what was submitted for the store, and nothing else; return what the jobs were called.

        Raises:
            BackendError: if the scheduler cannot be asked or does not obey.
        """
        ...


class Queues:
    """All schedulers' queues of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._queues = [_load(place)(store) for place in QUEUES.values()]

    @property
    def errors(self) -> list[str]:
        """Why schedulers could not be asked the last time."""
        return [each.error for each in self._queues if each.error]

    @property
    def are_left_alone(self) -> bool:
        """Whether jobs were to train, and no worker is left that does."""
        if active_packs(self.store):
            return False
        over = [each.are_over for each in self._queues]
        return True in over and False not in over

    def runs(self, *, close: bool = True) -> RunIds:
        """See `Queue`."""
        return RunIds.of(*(each.runs(close=close).keys for each in self._queues))

    def jobs(self) -> list[str]:
        """See `Queue`."""
        return [job for each in self._queues for job in each.jobs()]

    def describe(self) -> list[str]:
        """See `Queue`."""
        return [line for each in self._queues for line in each.describe()]

    def cancel(self) -> list[str]:
        """See `Queue`."""
        return [job for each in self._queues for job in each.cancel()]


def _load(place: str) -> type[Queue]:
    module, attribute = place.split(":")
    return getattr(importlib.import_module(module), attribute)


QUEUES = {
    "slurm": "relusweep.cluster.slurm.store_queue:StoreQueue",
}
