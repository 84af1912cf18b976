"""Ledger: what the table `runs` says of every run, read once for all that a command asks of it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from relusweep.sweep.store.outcomes import LETTERS, NONE, PROMISED, Outcomes, keys
from relusweep.sweep.store.run_ids import RunIds


@dataclass(frozen=True)
class Ledger:
    """Outcomes of all rows, those of doubles included; 18 bytes each."""

    rows: Outcomes

    @staticmethod
    def of(parts: Iterable[Outcomes]) -> "Ledger":
        """Put those of parts together."""
        return Ledger(np.concatenate([NONE, *parts]))

    @property
    def recorded(self) -> RunIds:
        """Ids of all recorded runs."""
        return RunIds.of(keys(self.rows))

    def promised(self, table: str) -> RunIds:
        """Return the runs that are said to have rows in `trajectories` or `weights`."""
        return RunIds.of(keys(self.rows[self._has(table)]))

    def doubled(self) -> int:
        """Count the rows that stand there more than once; readers of ours drop them, others count them."""
        return len(self.rows) - len(self.recorded)

    def lacking(self, moments: bool, weights: bool) -> dict[str, int]:
        """Count the recorded runs that lack moments or weights, where these are wanted; diverged ones have none."""
        has = {
            "trajectories": self._has("trajectories") if moments else None,
            "weights": self._has("weights") | (self.rows["status"] == LETTERS["diverged"]) if weights else None,
        }
        recorded = self.recorded if moments or weights else RunIds()
        counts = {
            table: len(recorded - RunIds.of(keys(self.rows[mask]))) for table, mask in has.items() if mask is not None
        }
        return {table: count for table, count in counts.items() if count}

    def _has(self, table: str) -> np.ndarray:
        return self.rows["promised"] & PROMISED[table] > 0
