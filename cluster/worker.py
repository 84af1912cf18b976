"""Worker: trains packs one after the other on one device, on every back-end alike."""

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from relusweep.cluster.backend import Assignment, Outcome
from relusweep.cluster.host.signals import answered
from relusweep.sweep import contents, own_code, states, trust
from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.execute import Interrupted, Progress, execute
from relusweep.sweep.kernels.jit.compiled import announcing
from relusweep.sweep.pack import Pack
from relusweep.sweep.store.files import Standing
from relusweep.sweep.store.lease import Lease, is_shared, leased, worker_name
from relusweep.sweep.store.run_ids import MergedIds
from relusweep.sweep.store.store import Store, StoreError

_PROGRESS_SECONDS = 0.5  # between writes of how far a pack is


class _LostError(Exception):
    """The lease is another's by now."""


class Worker:
    """Leases a pack, trains it, records it, and leaves nothing behind but the record."""

    def __init__(self, assignment: Assignment, device: torch.device, gone: Callable[[], bool] = lambda: False) -> None:
        """Make a worker.

        Args:
            assignment: Where to record and what to measure.
            device: Where to train.
            gone: Whether the launcher that gave the work is no longer there.
        """
        self.assignment, self.device, self.gone = assignment, device, gone
        self.store = Store(assignment.store)
        contents.look_in(self.store.path)
        self.name = worker_name()
        self.stop = threading.Event()
        self.lease: Lease | None = None  # of the pack in training, or the last one
        self.progress: Progress | None = None  # of the same
        self._written = 0.0  # when progress was last
        self._read: set[Path] = set()
        self._recorded = MergedIds()

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Let the stop signals ask the worker to write its state and stop, instead of killing it."""
        with answered(lambda *_: self.stop.set()):
            yield

    def train(self, pack: Pack) -> Outcome:
        """Train one pack and record it; a crash becomes an outcome, a store that cannot be written an exception."""
        checkpoint = self.store.checkpoint(pack.id)
        with leased(self.store, pack.id, (run.id for run in pack.runs)) as self.lease:
            ids = {run.id for run in pack.runs}
            if self.lease is None or is_shared(self.store, pack.id, ids):
                return Outcome(pack, "elsewhere")
            self._recorded.add(self.store.recorded_since(self.assignment.since, self._read))
            recorded = self._recorded.among(ids)
            if recorded:  # by another launcher, after ours had looked
                return Outcome(pack, "recorded" if recorded == ids else "elsewhere")
            trust.permit(own_code.named_by(run.__dict__ for run in pack.runs))  # what the launcher asks for
            trust.permit(map(own_code.content_in, self.assignment.measure.sources.values()))
            self.progress = Progress(pack.id, len(pack.runs), pack.shape.max_steps)
            try:
                with announcing(self._compiling):
                    tables = execute(
                        pack, self.assignment.measure, self.device, self.assignment.backend, checkpoint=checkpoint,
                        checkpoint_seconds=self.assignment.checkpoint_seconds, heartbeat=self._heartbeat,
                        states=states.path_of(self.store, pack),
                    )  # fmt: skip
                footer = {"device": str(self.device), "backend": self.assignment.backend}
                footer |= self.assignment.measure.footer()
                self.store.write(pack.id, tables, footer, self.lease.drafts)
            except Interrupted:
                return Outcome(pack, "interrupted")
            except _LostError:
                return Outcome(pack, "elsewhere")
            except RelusweepError as error:
                if isinstance(error, StoreError) and self.lease.is_lost:
                    return Outcome(pack, "elsewhere")
                raise
            except Exception as error:
                self.store.refuse(error)
                line = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                return Outcome(pack, "failed", line, traceback.format_exc(), _is_of_memory(error))
            finally:
                self.store.clear_progress(self.name)
            self.store.clear_failure(pack.id)
            self.store.delete_checkpoint(pack.id)
            return Outcome(pack, "recorded")

    def train_in_parts(self, parts: Sequence[Pack]) -> Iterator[Outcome]:
        """Train the parts of a pack, and of those for which memory is too little their halves, until one fails.

        Yields each one's outcome; the last may be a failure, or an interruption.
        """
        waiting = [*parts]
        while waiting:
            outcome = self.train(waiting.pop(0))
            if len(outcome.next_attempt) > 1:
                waiting[:0] = outcome.next_attempt
                continue
            yield outcome
            if outcome.kind in ("failed", "interrupted"):
                return

    def _heartbeat(self, progress: Progress) -> None:
        self.progress = progress
        if self.stop.is_set() or self.gone():
            raise Interrupted
        if self.lease and self.lease.over.is_set():
            raise _LostError
        if time.time() - self._written > _PROGRESS_SECONDS:
            self._write(progress, compiling=False)

    def _compiling(self) -> None:
        """Show that the pack waits for the compiler, until the next heartbeat."""
        assert self.progress is not None
        self._write(self.progress, compiling=True)
        self._written = 0.0
        self.gone()  # shows it, where the launcher is this process

    def _write(self, progress: Progress, *, compiling: bool) -> None:
        self._written = time.time()
        standing = Standing(**asdict(progress), worker=self.name, time=self._written, compiling=compiling)
        self.store.write_progress(self.name, standing)


def _is_of_memory(error: Exception) -> bool:
    """Return whether there was too little memory, of the machine's or of a GPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
