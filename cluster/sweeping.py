"""Sweeping: train whatever a store lacks of a spec, sharing the work with any other launcher on the same store."""

import random
import time
from collections.abc import Callable, Iterator

from cluster.backend import Backend, Job, Outcome
from cluster.plan import missing
from sweep.claim import claimed_runs, living_packs
from sweep.execute import load_checkpoint
from sweep.pack import Pack, make_packs
from sweep.run import Run
from sweep.spec import Spec
from sweep.store import Store

_WAIT_SECONDS = 1.0  # between looks at what other launchers are doing
_PATIENCE = 2  # looks before the user is told


def sweep(
    spec: Spec,
    planned: set[str],
    store: Store,
    backend: Backend,
    job: Job,
    tick: Callable[[], None],
    say: Callable[[str], None],
) -> list[Outcome]:
    """Train until every run of the spec is recorded or has failed; returns the packs that failed.

    Packs that were interrupted go on first, as they were; then the other missing runs are packed. What a living
    launcher is training already is left to it, and waited for.

    Args:
        spec: What to train.
        planned: The ids of all its runs.
        store: Where to record.
        backend: Where to train.
        job: What every worker needs to know.
        tick: Called about twice a second, to show progress.
        say: Tells the user why nothing moves, and what is thrown away.
    """
    failed: list[Outcome] = []
    waited = 0
    while True:
        hopeless = {run.id for outcome in failed for run in outcome.pack.runs}
        recorded = store.recorded()
        done = recorded | hopeless
        left = len(planned - done)
        if not left:
            _delete_finished(store, recorded, say)
            return failed
        busy = claimed_runs(store)
        packs = _packs(spec, store, backend, done, busy, left)
        first = next(packs, None)
        if first is None:
            waited += 1
            if waited == _PATIENCE:  # a launcher killed just now needs a moment to be gone
                say(f"{store.path}: another launcher is training the last {left} runs; waiting for it.")
            tick()
            time.sleep(_WAIT_SECONDS)
            continue
        outcomes = list(backend.train(job, _again(first, packs), tick))
        failed += [outcome for outcome in outcomes if outcome.kind == "failed"]
        if all(outcome.kind == "elsewhere" for outcome in outcomes):
            time.sleep(_WAIT_SECONDS * random.random())  # two launchers that gave way to each other part again


def _again(first: Pack, rest: Iterator[Pack]) -> Iterator[Pack]:
    yield first
    yield from rest


def _packs(spec: Spec, store: Store, backend: Backend, done: set[str], busy: set[str], left: int) -> Iterator[Pack]:
    resumed: set[str] = set()
    for pack in _interrupted(spec, store, done, busy):
        resumed.update(run.id for run in pack.runs)
        yield pack
    yield from make_packs(missing(spec, done | busy | resumed), lambda run: backend.pack_size(run, left))


def _interrupted(spec: Spec, store: Store, done: set[str], busy: set[str]) -> list[Pack]:
    """Packs with a state on disk, all of whose runs are still wanted."""
    paths = store.checkpoints()
    if not paths:
        return []
    wanted = {run.id for run in missing(spec, done | busy)}
    found = []
    for path in paths:
        saved = load_checkpoint(path)
        runs = tuple(Run.model_validate(run) for run in saved["runs"]) if saved else ()
        ids = {run.id for run in runs}
        if runs and ids <= wanted and saved and saved["measure"] == spec.measure.model_dump():
            found.append(Pack(runs))
            wanted -= ids
    return found


def _delete_finished(store: Store, recorded: set[str], say: Callable[[str], None]) -> None:
    """Delete states whose runs are all recorded: their worker was killed between the record and the deletion.

    And those that cannot be read: nobody can go on from them, and their pack may never be asked for again. A pack that
    someone is training keeps its state, whoever wrote it.
    """
    training = living_packs(store)
    for path in store.checkpoints():
        saved = load_checkpoint(path)
        if saved is None and path.stem not in training and path.exists():
            say(f"{path}: a state that cannot be read (damaged, or of another version); deleted.")
        elif saved is None or not set(saved["training"]["ids"]) <= recorded:
            continue
        path.unlink(missing_ok=True)
