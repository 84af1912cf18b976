"""Brackets: neighbouring values between which the outcome flips, and the runs that are asked for to narrow them.

Which runs these are depends on the spec and on the recorded rows alone, and more rows never ask for fewer of them. So
whoever looks at a store finds the same ones: after a kill, from another host, on another back-end.
"""

from collections.abc import Iterator
from itertools import chain

import numpy as np

from relusweep.sweep.refine import Refine, middle
from relusweep.sweep.run import Run, run_id
from relusweep.sweep.spec import Spec
from relusweep.sweep.spec_error import SpecError
from relusweep.sweep.store.run_ids import Keys, RunIds

Ends = np.ndarray  # (runs,): 0 for a run that is not recorded; else its status, and MET where it meets the threshold
MET = 4

# A run of the spec; neighbours in a group; neighbours whose outcomes differ. A position finds a run's other parameters.
_POINT = np.dtype([("group", "S16"), ("value", "f8"), ("key", "S16"), ("position", "i8")])
_SPAN = [("position", "i8"), ("low", "f8"), ("high", "f8")]
_PAIR = np.dtype([*_SPAN, ("group", "i8"), ("below", "i8"), ("above", "i8")])
_OPEN = np.dtype([*_SPAN, ("low_met", "?"), ("rounds", "u1"), ("middle", "f8"), ("key", "S16")])


class Brackets:
    """Narrows the brackets of a spec with [refine]; keeps 49 bytes a run of it, 50 a bracket, 33 a row of another run.

    Every bracket waits for one run, at its middle; others go on meanwhile. A run that fails holds up no other bracket.
    """

    def __init__(self, spec: Spec, refine: Refine) -> None:
        self.spec, self.refine = spec, refine
        points = np.fromiter(self._points(), _POINT, sum(len(block) for block in spec.blocks))
        self.planned = RunIds.of(points["key"])
        points = points[np.lexsort((points["value"], points["group"]))]
        low, high = points[:-1], points[1:]
        adjacent = (low["group"] == high["group"]) & (low["value"] < high["value"])  # no doubles of other blocks
        if not adjacent.any():
            raise SpecError(
                f"{spec.place}: refine.parameter = {self.refine.parameter!r}: no two runs differ in it alone; "
                "expected some to start from. Give it an axis of its own."
            )
        self._pairs = np.zeros(adjacent.sum(), _PAIR)
        self._pairs["group"] = np.cumsum(np.concatenate([[True], low["group"][1:] != low["group"][:-1]]))[adjacent]
        self._pairs["position"], self._pairs["low"] = low["position"][adjacent], low["value"][adjacent]
        self._pairs["high"] = high["value"][adjacent]
        self._pairs["below"] = self.planned.find(np.ascontiguousarray(low["key"][adjacent]))[0]
        self._pairs["above"] = self.planned.find(np.ascontiguousarray(high["key"][adjacent]))[0]
        self.forget()

    @staticmethod
    def of(spec: Spec) -> "Brackets | None":
        """Make those of a spec; None if it has no [refine].

        Raises:
            SpecError: if [refine] suits none of the runs.
        """
        return Brackets(spec, spec.refine) if spec.refine else None

    def forget(self) -> None:
        """Start anew, without any row."""
        self.by_end = np.zeros(2 * MET, np.int64)  # numbers of recorded runs that were asked for, by their end
        self._undecided = np.ones(len(self._pairs), bool)
        self._open = np.zeros(0, _OPEN)
        self._reached: list[Keys] = []  # of the recorded runs that were asked for
        self._others, self._ends = RunIds(), np.zeros(0, np.uint8)  # rows of runs that the spec does not name
        self._new: list[tuple[Keys, Ends]] = []

    def add(self, keys: Keys, ends: Ends) -> None:
        """Take note of rows of runs that the spec does not name: some may be asked for, now or later."""
        if len(keys):
            self._new.append((keys, ends))

    def narrow(self, ends: Ends) -> None:
        """Open and narrow brackets as far as the rows go; `ends` are those of the runs that the spec names."""
        self._merge()
        low, high = ends[self._pairs["below"]], ends[self._pairs["above"]]
        decided = self._undecided & (low > 0) & (high > 0)
        self._undecided &= ~decided
        flips = decided & ((low ^ high) & MET > 0)
        opened = np.zeros(flips.sum(), _OPEN)
        for name in ("position", "low", "high"):
            opened[name] = self._pairs[name][flips]
        opened["low_met"] = low[flips] & MET
        self._open = np.concatenate([self._open, self._halved(opened)])
        while True:
            places, found = self._others.find(np.ascontiguousarray(self._open["key"]))
            if not found.any():
                return
            reached, end = self._open[found], self._ends[places[found]]
            self.by_end += np.bincount(end, minlength=2 * MET)
            self._reached.append(reached["key"].copy())
            rises = (end & MET > 0) == reached["low_met"]
            reached["low"] = np.where(rises, reached["middle"], reached["low"])
            reached["high"] = np.where(rises, reached["high"], reached["middle"])
            self._open = np.concatenate([self._open[~found], self._halved(reached)])

    def asked(self) -> Iterator[Run]:
        """Yield the runs that are asked for and not recorded."""
        for bracket in self._open:  # as they are now: narrowing makes new ones
            yield self._at(bracket)

    @property
    def missing(self) -> Keys:
        """Keys of these runs."""
        return self._open["key"]

    @property
    def reached(self) -> RunIds:
        """Runs that were asked for and are recorded."""
        return RunIds.of(*self._reached)

    @property
    def count(self) -> int:
        """Number of runs asked for, recorded or not."""
        return int(self.by_end.sum()) + len(self._open)

    def to_follow(self) -> Iterator[tuple[Run, int, bool]]:
        """Yield for each place where runs may be asked for later a run like them, and how many they are at most.

        The third is whether no other place in its group may get more.
        """
        pairs = self._pairs[self._undecided]
        most = self.refine.most(pairs["low"], pairs["high"], np.zeros(len(pairs), int))
        order = np.lexsort((-most, pairs["group"]))
        first = np.concatenate([[True], np.diff(pairs["group"][order]) > 0]) if len(pairs) else np.zeros(0, bool)
        for pair, count, is_first in zip(pairs[order], most[order].tolist(), first.tolist(), strict=True):
            yield self.spec.run(int(pair["position"])), count, is_first
        most = self.refine.most(self._open["low"], self._open["high"], self._open["rounds"].astype(int) - 1) - 1
        for bracket, count in zip(self._open, most.tolist(), strict=True):
            yield self._at(bracket), count, True

    def _points(self) -> Iterator[tuple[bytes, float, bytes, int]]:
        name = self.refine.parameter
        for position, run in enumerate(chain.from_iterable(block.expand() for block in self.spec.blocks)):
            value = getattr(run, name)
            if value is not None and not 0 < value < np.inf:
                raise SpecError(
                    f"{self.spec.place}: refine.parameter = {name!r}: a run has {name} = {value}; expected finite "
                    "values above 0, to take geometric means of. Leave that value out."
                )
            group = run_id(run.__dict__ | {name: 0.0})
            at = np.nan if value is None else value  # which is beside no other
            yield bytes.fromhex(group), at, bytes.fromhex(run.id), position

    def _halved(self, brackets: np.ndarray) -> np.ndarray:
        """Ask for a run in the middle of each bracket that is still wide."""
        wide = brackets[self.refine.is_wide(brackets["low"], brackets["high"], brackets["rounds"])]
        wide["rounds"] += 1
        for bracket in wide:
            bracket["middle"] = middle(float(bracket["low"]), float(bracket["high"]))
            bracket["key"] = bytes.fromhex(self._at(bracket).id)
        return wide

    def _at(self, bracket: np.void) -> Run:
        """Make the run in the middle of a bracket: an end of it in all else."""
        parameters = self.spec.run(int(bracket["position"])).__dict__
        return Run.model_validate(parameters | {self.refine.parameter: float(bracket["middle"])})

    def _merge(self) -> None:
        if self._new:
            known = [(self._others.keys, self._ends), *self._new]
            self._others = RunIds.of(*(keys for keys, _ in known))
            self._ends = np.zeros(len(self._others), np.uint8)
            for keys, ends in known:
                self._ends[self._others.find(keys)[0]] = ends
            self._new.clear()
