"""Launch: train whatever a store lacks of a spec, sharing the work with any other launcher on the same store."""

import random
import shlex
import time
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

from relusweep.cluster.announcement import announced
from relusweep.cluster.backend import Assignment, Backend, Outcome
from relusweep.cluster.jobs.queue import Queues
from relusweep.cluster.plan import check
from relusweep.sweep import longer
from relusweep.sweep.bracket import Brackets
from relusweep.sweep.checkpoint import load_checkpoint
from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.kept import keep_data, refuse_other_images
from relusweep.sweep.pack import Pack, make_packs
from relusweep.sweep.planned import keep
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Spec
from relusweep.sweep.store import clock
from relusweep.sweep.store.atomic import UNSYNCED, store_errors, sync
from relusweep.sweep.store.lease import active_packs, leased_runs, remove_expired
from relusweep.sweep.store.repair import remove_leftovers, repair
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store, StoreError
from relusweep.sweep.taken_over import shorter, take_over
from relusweep.sweep.tally import Tally

CHECKPOINT_SECONDS = 120.0
_WAIT_SECONDS = 1.0  # between looks at what other launchers are doing
_PATIENCE = 2  # looks before it is reported


@dataclass(frozen=True)
class Launched:
    """What a launcher leaves behind: planned runs, those that lack yet, and the packs that failed."""

    tally: Tally
    failed: list[Outcome]

    @property
    def failed_runs(self) -> int:
        """Runs of the packs that failed."""
        return sum(len(outcome.pack.runs) for outcome in self.failed)


def launch(
    spec: Spec,
    path: Path,
    backend: Backend,
    name: str,
    *,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    stay: bool = True,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[Tally], AbstractContextManager[Callable[[], None]]] = lambda tally: nullcontext(lambda: None),
) -> Launched:
    """Train all runs of a spec that a store lacks: resumes what was interrupted, and extends what is there.

    Args:
        spec: What to train.
        path: The store; made if nothing is there.
        backend: Where to train.
        name: What records call the back-end.
        checkpoint_seconds: Between two states of an unfinished pack.
        stay: Until everything has been trained; else only until everything has been submitted.
        say: Tells the user what is worth a line, such as a broken part.
        show: Makes the display of a tally: a context whose value is called about twice a second.

    Raises:
        SpecError, DataError, BackendError: for the first run that cannot be trained, before anything is written.
        StoreError: if the store is another sweep's, or cannot be written.
        KeyboardInterrupt: if a signal asked to stop; all states are written, or jobs go on.
    """
    refuse_other_images(spec, Store(path))
    former = Store.at(path)
    tally, brackets = Tally.complete(spec, former) if former else None, Brackets.of(spec)
    planned = tally.planned if tally else check(spec, backend, say)
    if former and (sweep := former.sweep_name()) not in (None, spec.name):
        raise StoreError(f"{path}: holds the sweep {sweep!r}, got {spec.name!r}; choose another --out, or that name.")
    store = Store.create(path)
    remove_leftovers(store)
    with store_errors(store.path):
        keeps_names = sync(store.path / "runs")
    if not keeps_names:
        say(f"{store.path}: {UNSYNCED}.")
    # made before the first look at what is recorded: it holds the time
    assignment = Assignment(store.path, spec.measure, name, checkpoint_seconds, clock.now(store.path))
    with announced(f"{store.path}: what is recorded is being checked.", say):
        repaired = repair(store)
    for part, (why, moved) in repaired.items():
        say(f"{part}: broken ({why}); set aside as {moved}, its runs are trained again.")
    keep_data(spec, store)
    store.write_spec(spec.text)
    if not tally:  # else they are kept, and what was read need not be read again
        keep(spec, store, planned)
        tally = Tally(store, planned, brackets)
    tally.look()
    spent: set[str] = set()
    if tally.others or len(longer.lengths(spec)) > 1:
        with announced(f"{store.path}: what ended under a smaller max_steps is being looked for.", say):
            taken = take_over(spec, store, tally.missing, assignment.since)
            spent = shorter(spec, store, tally.missing)[1]
        if taken:
            say(f"{store.path}: {taken:,} run(s) had ended with fewer steps; their rows are taken over.")
    with _naming_open_jobs(store, say), show(tally) as tick:
        return Launched(tally, train_missing(spec, tally, backend, assignment, tick, say, stay=stay, spent=spent))


@contextmanager
def _naming_open_jobs(store: Store, say: Callable[[str], None]) -> Iterator[None]:
    """Yield once; where the launcher is stopped and its jobs are not, report which of them go on."""
    try:
        yield
    except BaseException:
        if jobs := Queues(store).jobs():
            path = shlex.quote(str(store.path))
            say(f"{store.path}: job(s) {', '.join(jobs)} go on. Next: relusweep watch {path}, or cancel {path}")
        raise


def train_missing(
    spec: Spec,
    tally: Tally,
    backend: Backend,
    assignment: Assignment,
    tick: Callable[[], None],
    say: Callable[[str], None],
    *,
    stay: bool = True,
    spent: Set[str] = frozenset(),
) -> list[Outcome]:
    """Train until every planned run is recorded or has failed; return the packs that failed.

    Packs that were interrupted go on first, as they were; then the other missing runs are packed. What a living
    launcher is training already, or has put into a queue, is left to it, and waited for.

    Args:
        spec: What to train.
        tally: All its runs, those that recorded rows ask for included, and where to record them.
        backend: Where to train.
        assignment: What every worker needs to know.
        tick: Called about twice a second, to show progress.
        say: Tells the user why nothing moves, and what is thrown away.
        stay: Until everything has been trained; else only until everything is submitted.
        spent: Runs that have used up a smaller max_steps.
    """
    store = tally.store
    queues = Queues(store)
    failed: list[Outcome] = []
    waited = 0
    while True:
        queued, leased = queues.runs(), leased_runs(store)  # asked first: what is let go meanwhile is recorded
        tally.look()
        left = tally.missing - {run.id for outcome in failed for run in outcome.pack.runs}
        if not left:
            _delete_finished(store, say)
            remove_expired(store)
            return failed
        free = left - leased - queued
        if not free and not stay:
            return failed
        if not free:
            waited += 1
            if waited == _PATIENCE:  # a launcher killed just now needs a moment to be gone
                who = "jobs of another launcher are to train" if queued else "another launcher is training"
                say(f"{store.path}: {who} the last {len(left)} runs; waiting for {'them' if queued else 'it'}.")
                for error in queues.errors:
                    say(error)
            tick()
            time.sleep(_WAIT_SECONDS)
            continue
        gave_way = True
        for outcome in backend.train(assignment, _packs(spec, tally, backend, free, len(left), spent, say), tick):
            gave_way &= outcome.kind == "elsewhere"
            if outcome.kind == "failed":  # the others are let go: a pack holds thousands of runs
                failed.append(outcome)
        if not stay:
            return failed
        if gave_way:
            time.sleep(_WAIT_SECONDS * random.random())  # two launchers that gave way to each other part again


def _packs(
    spec: Spec, tally: Tally, backend: Backend, free: RunIds, left: int, spent: Set[str], say: Callable[[str], None]
) -> Iterator[Pack]:
    """Pack the runs that no worker trains: as they were interrupted, those that go on for longer, and the others."""
    for path in tally.store.checkpoints():
        pack = _interrupted(spec, path)
        ids = {run.id for run in pack.runs} if pack else set()
        if pack and ids <= free:
            free -= ids
            yield pack
    size = partial(backend.pack_size, measure=spec.measure, missing=left)
    going_on = 0
    for pack in longer.packs(spec, tally.store, free, size):
        free -= {run.id for run in pack.runs}
        going_on += len(pack.runs)
        yield pack
    if going_on:
        say(f"{tally.store.path}: {going_on:,} runs go on from where a smaller max_steps had left them.")
    if anew := sum(run_id in free for run_id in spent):
        say(
            f"{tally.store.path}: {anew:,} run(s) that had used up a smaller max_steps begin anew: no state of theirs "
            "serves. See save_states and every in the spec's [measure]."
        )
    runs = (run for run in chain(tally.asked(), spec.expand()) if run.id in free)
    yield from make_packs(islice(runs, len(free)), size)


def _interrupted(spec: Spec, path: Path) -> Pack | None:
    """Read which pack a state is of; None if it cannot go on with what the spec measures."""
    saved = load_checkpoint(path)
    if not saved or not saved.get("runs") or not spec.measure.is_of(saved.get("measure")):
        return None
    try:
        pack = Pack(tuple(map(Run.model_validate, saved["runs"])))
    except (RelusweepError, TypeError, ValueError):  # not what a worker writes; or it names files that are not there
        return None
    return pack if pack.id == path.stem else None  # the name under which its worker will look for it


def _delete_finished(store: Store, say: Callable[[str], None]) -> None:
    """Delete states whose runs are all recorded: their worker was killed between the record and the deletion.

    And failures of runs that have been recorded in other packs, or whose content is damaged; what dead workers have
    said of their progress; and states that cannot be read: no worker goes on from them, and their pack may never be
    asked for again. A pack that someone is training keeps its state, whoever wrote it.
    """
    shown = store.progress_files()  # before asking who is alive: a worker has its lease first
    paths, failures = store.checkpoints(), store.failures()
    recorded = store.recorded() if paths or failures else RunIds()
    for failure in failures:
        if set(failure["run_ids"]) <= recorded:
            store.clear_failure(failure["pack_id"])
    for path in store.damaged_failures():
        store.clear_failure(path.stem)
    training = active_packs(store)
    for path in shown:
        if path.stem not in training.values() and path.is_file():
            store.clear_progress(path.stem)
    for path in paths:
        saved = load_checkpoint(path)
        if saved is None and path.stem not in training and path.exists():
            say(f"{path}: a state that cannot be read (damaged, or of another version); deleted.")
        elif saved is None or not set(saved["training"]["ids"]) <= recorded:
            continue
        store.delete_checkpoint(path.stem)
