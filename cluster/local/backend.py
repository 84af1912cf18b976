"""Local: packs on this machine, one process a GPU, or one a core; the reference that every back-end must equal."""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import final

import torch

from relusweep.cluster.backend import ATTEMPTS, Assignment, BackendError, LaunchOptions, Outcome, failure
from relusweep.cluster.host.cores import own_cores
from relusweep.cluster.host.memory import available
from relusweep.cluster.local.pool import WorkerPool
from relusweep.cluster.pack_size import fair, fitting
from relusweep.cluster.worker import Worker
from relusweep.sweep.device import devices
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure

_PROCESS_BYTES = 200 * 2**20  # that a worker takes before it has a pack


@final
class Local:
    """This machine."""

    def __init__(self, workers: int | None = None, machine: Path | None = None, _: LaunchOptions | None = None) -> None:
        if machine is not None:
            raise BackendError(f"--machine {machine}: local trains on this machine; expected --on slurm with it.")
        found = devices()
        cores = own_cores()
        self.workers = workers or (len(found) if found[0].type == "cuda" else cores)
        self.devices = [found[index % len(found)] for index in range(self.workers)]

    @property
    def device(self) -> torch.device:
        """See `Backend`: the device of the first worker."""
        return self.devices[0]

    def pack_size(self, run: Run, measure: Measure, missing: int) -> int:
        """See `Backend`: bounded by memory, but no larger than keeps all workers busy to the end."""
        room = fitting(run, measure, self._worker_bytes, "a worker here", "Use fewer --workers or smaller runs.")
        return min(room, fair(run, self.device, missing, self.workers))

    @cached_property
    def _worker_bytes(self) -> int:
        """What a worker has for its packs; as it is before the first one is in training."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return max(available() // self.workers - _PROCESS_BYTES, 0)

    def train(self, assignment: Assignment, packs: Iterator[Pack], tick: Callable[[], None]) -> Iterator[Outcome]:
        """See `Backend`; one worker trains in this process, several in processes of their own."""
        if self.workers == 1:
            yield from self._train_here(assignment, packs, tick)
        else:
            with WorkerPool.started(assignment, self.devices) as pool:
                yield from pool.train(packs, tick)

    def _train_here(self, assignment: Assignment, packs: Iterator[Pack], tick: Callable[[], None]) -> Iterator[Outcome]:
        def look() -> bool:
            tick()
            return False  # the launcher is this process

        torch.set_num_threads(1)
        worker = Worker(assignment, self.device, gone=look)
        with worker.stopped_by_signals():
            for pack in packs:
                if worker.stop.is_set():
                    raise KeyboardInterrupt
                yield from _tried(worker, pack)


def _tried(worker: Worker, pack: Pack) -> Iterator[Outcome]:
    """Train a pack, again if it fails, and its halves where memory is too little; yield what became of them."""
    for _ in range(ATTEMPTS):
        outcome = worker.train(pack)
        if outcome.kind == "interrupted":
            raise KeyboardInterrupt
        if outcome.kind == "failed" and len(outcome.next_attempt) > 1:
            for half in outcome.next_attempt:
                yield from _tried(worker, half)
            return
        if outcome.kind != "failed":
            break
    else:
        worker.store.write_failure(pack.id, failure(outcome, ATTEMPTS))
    yield outcome
