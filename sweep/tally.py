"""Tally: planned runs, and how each of them ended. However often one looks, every part is read once.

Planned are the runs that a spec names, and with [refine] those that the recorded rows ask for.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa

from relusweep.sweep.bracket import MET, Brackets, Ends
from relusweep.sweep.planned import kept_ids, planned
from relusweep.sweep.record import Status
from relusweep.sweep.refine import Refine
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.outcomes import COLUMNS, LETTERS, keys, outcomes_of
from relusweep.sweep.store.part import columns_of, outcomes, pieces, take_each
from relusweep.sweep.store.run_ids import Keys, RunIds
from relusweep.sweep.store.store import Store

_TOGETHER = 1000  # parts, or runs of a part, after which they are looked up
_PLACES = {status: place for place, status in enumerate(get_args(Status), 1)}
_PLACE_OF: Ends = np.zeros(256, np.uint8)  # by the letter of a status
_PLACE_OF[[LETTERS[status] for status in _PLACES]] = list(_PLACES.values())


class Tally:
    """Counts planned runs by what became of them; keeps 17 bytes a run, and what `Brackets` keep if there are any."""

    def __init__(self, store: Store, planned: RunIds, brackets: Brackets | None = None) -> None:
        self.store, self.planned, self.brackets = store, planned, brackets
        self._refine = brackets.refine if brackets else None
        self._ends: Ends = np.zeros(len(planned), np.uint8)
        self._read: set[tuple[Path, int]] = set()
        self.others = 0  # rows of runs that the spec does not name, those that were asked for among them

    @staticmethod
    def of(spec: Spec, store: Store) -> "Tally":
        """Count the runs of a spec."""
        brackets = Brackets.of(spec)
        return Tally(store, brackets.planned if brackets else planned(spec, store), brackets)

    @staticmethod
    def complete(spec: Spec, store: Store) -> "Tally | None":
        """Return the tally of a spec if all its runs are known to be recorded: there is nothing to check then."""
        ids = kept_ids(spec, store) if spec.refine is None else None
        if ids is None:
            return None
        tally = Tally(store, ids)
        tally.look()
        return None if tally.missing else tally

    def look(self) -> None:
        """Read the parts that are new. If one has gone, its runs may have gone with it, and all are read again."""
        inodes: dict[Path, int] = {}
        waiting: list[tuple[Keys, Ends]] = []  # looked up many at a time: parts may hold a few runs each
        has_news = False

        def listed() -> list[Path]:
            nonlocal inodes
            inodes = self.store.inodes()
            if not self._read <= set(inodes.items()):
                self._forget()
                waiting.clear()
            return sorted((part for part, inode in inodes.items() if (part, inode) not in self._read), key=os.fspath)

        def take(part: Path) -> None:
            nonlocal has_news
            waiting.extend(self._found(part))  # the whole part, or nothing
            self._read.add((part, inodes[part]))
            has_news = True
            if len(waiting) >= _TOGETHER or any(len(ids) >= _TOGETHER for ids, _ in waiting[-1:]):
                self._add(waiting)

        take_each(listed, take)  # broken parts are named by `verify`, and their runs are missing
        self._add(waiting)
        if self.brackets and has_news:
            self.brackets.narrow(self._ends)

    def _add(self, waiting: list[tuple[Keys, Ends]]) -> None:
        """Take in what was found, and empty the list of it."""
        if waiting:
            ids, ends = map(np.concatenate, zip(*waiting, strict=True))
            places, planned = self.planned.find(ids)  # the others are of an earlier spec, or asked for
            self._ends[places[planned]] = ends[planned]
            self.others += int((~planned).sum())
            if self.brackets:
                self.brackets.add(ids[~planned], ends[~planned])
        waiting.clear()

    def _found(self, part: Path) -> list[tuple[Keys, Ends]]:
        if self._refine is None:
            found = outcomes(part)
            return [(keys(found), _PLACE_OF[found["status"]])]
        return [
            _ends(piece, self._refine) for piece in pieces(part, columns_of("runs", [*COLUMNS, self._refine.column]))
        ]

    def _forget(self) -> None:
        self._ends[:] = 0
        self._read.clear()
        self.others = 0
        if self.brackets:
            self.brackets.forget()

    @property
    def count(self) -> int:
        """Number of planned runs."""
        return len(self.planned) + (self.brackets.count if self.brackets else 0)

    @property
    def by_status(self) -> dict[str, int]:
        """Number of recorded runs of each status."""
        counts = np.bincount(self._ends, minlength=2 * MET)
        if self.brackets:
            counts += self.brackets.by_end
        counts = (counts[:MET] + counts[MET:]).tolist()
        return {status: counts[place] for status, place in _PLACES.items() if counts[place]}

    @property
    def missing(self) -> RunIds:
        """Planned runs that are not recorded."""
        missing = self.planned.where(self._ends == 0)
        return RunIds.of(missing.keys, self.brackets.missing) if self.brackets else missing

    @property
    def recorded(self) -> RunIds:
        """Planned runs that are recorded."""
        recorded = self.planned.where(self._ends > 0)
        return RunIds.of(recorded.keys, self.brackets.reached.keys) if self.brackets else recorded

    def asked(self) -> Iterator[Run]:
        """Yield those of them that the spec does not name."""
        return self.brackets.asked() if self.brackets else iter(())


def _ends(rows: pa.Table, refine: Refine) -> tuple[Keys, Ends]:
    found = outcomes_of(rows)
    ends = _PLACE_OF[found["status"]]
    ends[refine.met(rows)] |= MET
    return keys(found), ends
