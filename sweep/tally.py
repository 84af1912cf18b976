"""Tally: planned runs, and how each of them ended. However often one looks, every part is read once."""

from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa

from sweep.ids import Keys, RunIds, keys_of
from sweep.part import UNREADABLE, columns_of, pieces
from sweep.record import Status
from sweep.store import Store

Ends = np.ndarray  # (runs,): 0 for a run that is not recorded, else that of its status in _PLACES

_PLACES = {status: place for place, status in enumerate(get_args(Status), 1)}
_COLUMNS = columns_of("runs", ["status"])


class Tally:
    """Counts planned runs by what became of them; keeps 17 bytes a run."""

    def __init__(self, store: Store, planned: RunIds) -> None:
        self.store, self.planned = store, planned
        self._ends: Ends = np.zeros(len(planned), np.uint8)
        self._read: set[tuple[Path, int]] = set()

    def look(self) -> None:
        """Read the parts that are new. If one has gone, its runs may have gone with it, and all are read again."""
        for _ in range(2):  # a part that vanished while we read was compacted: list again, once
            listed = set(self.store.inodes().items())
            if not self._read <= listed:
                self._ends[:] = 0
                self._read.clear()
            vanished = False
            for part, inode in sorted(listed - self._read):
                try:
                    found = [_ends(piece) for piece in pieces(part, _COLUMNS)]  # of the whole part, or of nothing
                except UNREADABLE:
                    vanished |= not part.exists()  # else it is broken: `verify` names it, and its runs are missing
                    continue
                for keys, ends in found:
                    places, planned = self.planned.find(keys)  # the others are of an earlier spec
                    self._ends[places[planned]] = ends[planned]
                self._read.add((part, inode))
            if not vanished:
                return

    @property
    def by_status(self) -> dict[str, int]:
        """Number of recorded runs of each status."""
        counts = np.bincount(self._ends, minlength=1 + len(_PLACES)).tolist()
        return {status: counts[place] for status, place in _PLACES.items() if counts[place]}

    @property
    def missing(self) -> RunIds:
        """Planned runs that are not recorded."""
        return self.planned.where(self._ends == 0)


def _ends(rows: pa.Table) -> tuple[Keys, Ends]:
    places = map(_PLACES.__getitem__, rows["status"].to_pylist())
    return keys_of(rows["run_id"]), np.fromiter(places, np.uint8)
