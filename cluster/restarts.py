"""Starts: how often in a row a job of SLURM was started without its sweep getting any further.

Progress decides whether the job is given up, not the clock. What is known of earlier starts lies beside the job's log.
"""

import json
from pathlib import Path
from typing import Any

from relusweep.cluster.backend import BackendError
from relusweep.cluster.slurm.array_task import IDLE_STARTS, steps_taken
from relusweep.sweep.store.atomic import store_errors, write_json
from relusweep.sweep.store.store import Store


class Starts:
    """Those of one job, this one included."""

    def __init__(self, job: str, out: Path) -> None:
        """Read what earlier starts have left.

        Args:
            job: Its id.
            out: Where the sweep is recorded.
        """
        self.job, self.out = job, out
        self.path = Path(f"relusweep-ray-{job}.json").absolute()
        try:
            self.kept: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.kept = {"unready": 0, "idle": 0, "standing": [0, 0.0]}

    def begin(self) -> None:
        """Note one more, before anything is loaded: a job that is stopped while it loads got nowhere.

        Raises:
            BackendError: if there were too many.
        """
        self._keep(self.kept | {"unready": self.kept["unready"] + 1})

    def compare(self) -> None:
        """Note whether something came of the starts since the last comparison; loads torch where there are states.

        Raises:
            BackendError: if nothing did too often.
        """
        standing, idle = _standing(self.out), self.kept["unready"]
        idle += self.kept["idle"] if standing <= self.kept["standing"] else 0
        self._keep({"unready": 0, "idle": idle, "standing": standing})

    def forget(self) -> None:
        """Begin anew should the job be queued again: it has ended by itself."""
        self.path.unlink(missing_ok=True)

    def _keep(self, kept: dict[str, Any]) -> None:
        self.kept = kept
        with store_errors(self.path):
            write_json(self.path, kept)
        if max(kept["idle"], kept["unready"]) > IDLE_STARTS:
            raise BackendError(
                f"job {self.job} was started {IDLE_STARTS} times in a row without getting {self.out} any further; "
                "expected a recorded run or a later state. See above what stopped it, then the same sbatch line, "
                "perhaps with more --time."
            )


def _standing(out: Path) -> list[float]:
    """Say how far a sweep is: runs recorded, then steps of the states."""
    store = Store.at(out)
    if store is None:
        return [0, 0.0]
    states = [path.stem for path in store.checkpoints()]
    return [len(store.recorded()), steps_taken(store, states) if states else 0.0]
