"""Restarts of a job of SLURM that holds a Ray cluster: what is known of earlier starts lies beside the job's log."""

import json
from pathlib import Path

from relusweep.cluster.backend import BackendError
from relusweep.cluster.jobs.restarts import IDLE_STARTS, Restarts, steps_taken
from relusweep.sweep.store.atomic import store_errors, write_json
from relusweep.sweep.store.store import Store


class JobRestarts:
    """Those of one job, kept in a file; beyond too many the job ends with an error."""

    def __init__(self, job: str, out: Path) -> None:
        """Read what earlier starts have left.

        Args:
            job: Its id.
            out: Where the sweep is recorded.
        """
        self.job, self.out = job, out
        self.path = Path(f"relusweep-ray-{job}.json").absolute()
        try:
            self.counts = Restarts(**json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            self.counts = Restarts(standing=[0, 0.0])

    def begin(self) -> None:
        """Count one more, before anything is loaded.

        Raises:
            BackendError: if there were too many.
        """
        self._keep(self.counts.begun())

    def compare(self) -> None:
        """Count whether something came of the starts since the last comparison; loads torch where there are states.

        Raises:
            BackendError: if nothing did too often.
        """
        self._keep(self.counts.compared(_standing(self.out)))

    def forget(self) -> None:
        """Begin anew should the job be queued again: it has ended by itself."""
        self.path.unlink(missing_ok=True)

    def _keep(self, counts: Restarts) -> None:
        self.counts = counts
        with store_errors(self.path):
            write_json(self.path, {"unready": counts.unready, "idle": counts.idle, "standing": counts.standing})
        if counts.are_too_many:
            raise BackendError(
                f"job {self.job} was started {IDLE_STARTS} times in a row without getting {self.out} any further; "
                "expected a recorded run or a later state. See above what stopped it, then the same sbatch line, "
                "perhaps with more --time."
            )


def _standing(out: Path) -> list[float]:
    """Return how far a sweep is: runs recorded, then steps of the states."""
    store = Store.at(out)
    if store is None:
        return [0, 0.0]
    states = [path.stem for path in store.checkpoints()]
    return [len(store.recorded()), steps_taken(store, states) if states else 0.0]
