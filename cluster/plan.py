"""Plan: what a sweep would train, in how many packs, files and seconds; submits nothing and writes nothing."""

import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import attrgetter
from pathlib import Path

import numpy as np

from relusweep.cluster.backend import Backend, Foreseen, QueueingBackend
from relusweep.cluster.cost import Costs
from relusweep.cluster.jobs.queue import Queues
from relusweep.cluster.progress import duration
from relusweep.sweep import longer
from relusweep.sweep.bracket import Brackets
from relusweep.sweep.branches import find_branches
from relusweep.sweep.data import DATA_KEYS, dataset
from relusweep.sweep.extra_measures import try_out
from relusweep.sweep.kept import refuse_other_images
from relusweep.sweep.run import Run
from relusweep.sweep.shape import SHAPE_KEYS, shape_key, work
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.run_ids import Keys, RunIds, keys_from
from relusweep.sweep.store.store import Store
from relusweep.sweep.taken_over import shorter
from relusweep.sweep.tally import Tally
from relusweep.sweep.template import FREE

_SILENT_SECONDS = 10.0  # after which one that waits is shown how far a check is
_MOST_DATA_SETS = 1000  # of a block, of those that a user's own functions make
_KIND_KEYS = [key for key in DATA_KEYS if key != "data_seed"]
_FREE = FREE.difference(SHAPE_KEYS, _KIND_KEYS)  # may differ among runs of which one is looked at for all
_kind_of_data = attrgetter(*_KIND_KEYS)


@dataclass(frozen=True)
class Plan:
    """Counts of what is to be trained, and at most how long it takes."""

    runs: int
    recorded: int
    queued: int
    packs: int
    shapes: int
    files: int
    seconds: float
    workers: int
    pack_seconds: tuple[tuple[int, float], ...]  # of each pack: its runs, and how long it takes at most
    to_follow: int | None = None  # runs that [refine], if any, may ask for afterwards, at most …
    follow_seconds: float = 0.0  # … which take so long …
    rounds: int = 0  # … in so many rounds, each of which needs the outcomes of the one before …
    one_flip_each: int = 0  # … or only so many, where the outcome flips once in each group
    foreseen: Foreseen | None = None  # what would be submitted, where the back-end has a queue
    to_train: RunIds = field(default_factory=RunIds)  # the runs to train …
    going_on: int = 0  # … of which so many go on from where a smaller max_steps had left them …
    ended: int = 0  # … and so many had ended before it

    @property
    def missing(self) -> int:
        """Runs to train."""
        return self.runs - self.recorded - self.queued

    def rows(self, store: Path, on: str) -> dict[str, str]:
        """Return it line by line, each under its name."""
        here = {
            "time": f"about {duration(self.seconds)} if no run ends early, {self.workers} worker(s), {on}",
            "device-hours": f"about {self.seconds * self.workers / 3600:.2g}",
        }
        return {
            "runs": f"{self.runs:,}",
            "recorded already": f"{self.recorded:,}",
            **({"queued already": f"{self.queued:,}"} if self.queued else {}),
            "to train": f"{self.missing:,}",
            **({"of these": self.begun} if self.going_on or self.ended else {}),
            "packs": f"{self.packs:,} of {self.shapes} tensor shape(s)",
            "files": f"{self.files:,} in {store}",
            **(self.foreseen.rows if self.foreseen else here),
            **({"to follow": self.to_come} if self.to_follow is not None else {}),
        }

    @property
    def begun(self) -> str:
        """Return what of the runs to train is recorded with a smaller max_steps."""
        return (
            f"{self.going_on:,} go on from a smaller max_steps, {self.ended:,} had ended before it; what is said of "
            "times and packs is without that"
        )

    @property
    def to_come(self) -> str:
        """Return what [refine] may ask for once these runs are recorded."""
        if not self.to_follow:
            return "nothing"
        return (
            f"at most {self.to_follow:,} runs in {self.rounds} round(s), about {duration(self.follow_seconds)}; "
            f"{self.one_flip_each:,} where the outcome flips once a group"
        )


def check(spec: Spec, backend: Backend, say: Callable[[str], None] = lambda line: None) -> RunIds:
    """Look at every run, its memory and its kind of data before anything is trained or written.

    Args:
        spec: What is to be trained.
        backend: Where.
        say: Tells the user how far it is, where that takes long.

    Returns:
        The ids of all runs.

    Raises:
        SpecError: for the first run that makes no sense.
        BackendError: for the first run that no worker has room for.
        DataError: for the first data set that cannot be had, or code that came with a store and was not run before.
    """
    return RunIds.of(*(keys for _, keys in _checked(spec, backend, say)))


def _checked(spec: Spec, backend: Backend, say: Callable[[str], None]) -> Iterator[tuple[Run, Keys]]:
    """Yield the ids of all runs, some at a time, with a run of the same shape and kind of data."""
    spec.sources.permit_code(spec.place)
    find_branches(spec)
    shapes, kinds = set(), set()
    named, number, shown = sum(map(len, spec.blocks)), 0, time.monotonic()
    for run, keys in chain.from_iterable(block.families(_FREE) for block in spec.blocks):
        if time.monotonic() - shown > _SILENT_SECONDS:
            shown = time.monotonic()
            say(f"checked {number:,} of {named:,} runs …")
        shape = shape_key(run)
        if shape not in shapes:
            shapes.add(shape)
            backend.pack_size(run, spec.measure, 1)
            try_out(spec.measure, run)
        kind = _kind_of_data(run)
        if kind not in kinds:
            kinds.add(kind)
            dataset(run.__dict__)
        number += len(keys)
        yield run, keys
    for block in spec.blocks:  # one of the user's own functions may fail at some points only
        for run in block.of_own_functions(_MOST_DATA_SETS):
            dataset(run.__dict__)


def plan(spec: Spec, path: Path, backend: Backend, say: Callable[[str], None] = lambda line: None) -> Plan:
    """Check a spec and count what `launch` would train into a store, and what it would submit; writes nothing.

    Args:
        spec: What is to be trained.
        path: The store; there need be none yet.
        backend: Where.
        say: Tells the user what takes long.

    Raises:
        SpecError, DataError, BackendError: for the first run that cannot be trained.
        StoreError: if something else is at `path`.
    """
    store, brackets = Store.at(path), Brackets.of(spec)
    costs = backend.costs(spec.measure, store) if isinstance(backend, QueueingBackend) else None
    if brackets and store:
        Tally(store, brackets.planned, brackets).look()
    if store and (done := Tally.complete(spec, store)):
        counted = _nothing_to_train(done.count, backend.workers)
    else:
        refuse_other_images(spec, store or Store(path))
        queued = Queues(store).runs(close=False) if store else frozenset[str]()
        counted = count(spec, store.recorded() if store else set(), backend, costs, queued, brackets, say)
        if store:
            ended, _ = shorter(spec, store, counted.to_train)
            going_on = longer.count(spec, store, counted.to_train - ended)
            counted = replace(counted, ended=len(ended), going_on=going_on)
    if isinstance(backend, QueueingBackend):
        return replace(counted, foreseen=backend.foresee(counted.pack_seconds, path))
    return counted


def _nothing_to_train(runs: int, workers: int) -> Plan:
    return Plan(
        runs=runs, recorded=runs, queued=0, packs=0, shapes=0, files=0, seconds=0.0, workers=workers, pack_seconds=()
    )


def count(
    spec: Spec,
    recorded: Set[str],
    backend: Backend,
    costs: Costs | None = None,
    queued: Set[str] = frozenset(),
    brackets: Brackets | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Check a spec, count packs and files, and return how long the runs take at most, each using all its steps.

    Args:
        spec: What is to be trained.
        recorded: Ids of the runs that need not be.
        backend: Where.
        costs: What runs cost there; by default as probed on the back-end's device.
        queued: Ids of the runs that jobs are to train already.
        brackets: Those of a spec with [refine], narrowed as far as the recorded rows go.
        say: Tells the user what takes long.
    """
    asked = ((run, keys_from([bytes.fromhex(run.id)])) for run in (brackets.asked() if brackets else ()))
    shapes: dict[tuple[object, ...], int] = {}
    examples: list[Run] = []  # one of each shape
    found: list[tuple[int, Keys]] = []
    for run, keys in chain(_checked(spec, backend, say), asked):
        number = shapes.setdefault(shape_key(run), len(shapes))
        if number == len(examples):
            examples.append(run)
        found.append((number, keys))
    ids = RunIds.of(*(keys for _, keys in found))
    shape_of = np.zeros(len(ids), np.int64)
    for number, keys in found if len(examples) > 1 else ():
        shape_of[ids.find(keys)[0]] = number
    is_recorded = ids.among(recorded)
    is_waiting = ~is_recorded & ~ids.among(queued)
    runs, waiting = len(ids), int(is_waiting.sum())
    others = runs - waiting - int(is_recorded.sum())
    amounts = dict(enumerate(np.bincount(shape_of[is_waiting], minlength=len(examples)).tolist()))
    costs = costs or Costs(spec.measure, backend.device, say=say)
    packs: list[tuple[int, float]] = []
    dearest = sorted(filter(amounts.get, amounts), key=lambda shape: -amounts[shape] * work(shape_key(examples[shape])))
    for shape in dearest:  # first the dearest: it is probed
        seconds, size = costs.of(examples[shape]), backend.pack_size(examples[shape], spec.measure, waiting)
        sizes = [min(size, amounts[shape] - done) for done in range(0, amounts[shape], size)]
        packs += [(size, size * seconds) for size in sizes]
    follow, rounds, one_flip_each, follow_seconds = 0, 0, 0, 0.0
    for run, most, is_first in brackets.to_follow() if brackets else ():
        follow, rounds, one_flip_each = follow + most, max(rounds, most), one_flip_each + most * is_first
        follow_seconds += most * costs.of(run)
    answered = brackets.count - len(brackets.missing) if brackets else 0  # what was asked for and is recorded
    tables = 1 + (spec.measure.every != "end") + bool(spec.measure.save_weights)
    return Plan(
        runs=runs + answered, recorded=runs - waiting - others + answered, queued=others,
        packs=len(packs), shapes=len(dearest), files=len(packs) * tables,
        seconds=sum(taken for _, taken in packs) / backend.workers, workers=backend.workers, pack_seconds=tuple(packs),
        to_follow=follow if brackets else None, follow_seconds=follow_seconds / backend.workers,
        rounds=rounds, one_flip_each=one_flip_each, to_train=RunIds.of(ids.keys[is_waiting]),
    )  # fmt: skip
