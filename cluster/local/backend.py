"""Local: packs on this machine, one process a GPU, or one a core; the reference that every back-end must equal."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, final

import psutil
import torch

from relusweep.cluster.backend import ATTEMPTS, BackendError, Job, Launch, Outcome, failure
from relusweep.cluster.local.forks import CONTEXT, adopt, load_ahead, nameless
from relusweep.cluster.signals import answered
from relusweep.cluster.worker import Worker
from relusweep.sweep.data import DataError
from relusweep.sweep.device import devices
from relusweep.sweep.pack import MAX_RUNS, Pack, point_bytes, run_bytes
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.store import Store, StoreError
from relusweep.sweep.train import tile_size

_TICK_SECONDS = 0.5
_PACKS_PER_WORKER = 4  # so that the last packs end at about the same time
_SMALL_TILE = 32  # runs that are worth a pack even if workers then end unevenly
_MEMORY_SHARE = 0.5  # of what is free now


@final
class Local:
    """This machine."""

    def __init__(self, workers: int | None = None, machine: Path | None = None, _: Launch | None = None) -> None:
        if machine is not None:
            raise BackendError(f"--machine {machine}: local trains on this machine; expected --on slurm with it.")
        found = devices()
        cores = len(os.sched_getaffinity(0))
        self.workers = workers or (len(found) if found[0].type == "cuda" else cores)
        self.devices = [found[index % len(found)] for index in range(self.workers)]

    @property
    def device(self) -> torch.device:
        """See `Backend`: the device of the first worker."""
        return self.devices[0]

    def pack_size(self, run: Run, measure: Measure, missing: int) -> int:
        """See `Backend`: bounded by memory, but no larger than keeps all workers busy to the end."""
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0]
        else:
            free = psutil.virtual_memory().available // self.workers
        needed = run_bytes(run, measure)
        fitting = (int(_MEMORY_SHARE * free) - point_bytes(run)) // needed
        if fitting < 1:
            raise BackendError(
                f"a run with n = {run.n}, n_test = {run.n_test}, d = {run.d}, width = {run.width} takes "
                f"{(needed + point_bytes(run)) / 2**30:.1f} GiB; "
                f"expected at most {_MEMORY_SHARE * free / 2**30:.1f} GiB a worker here. "
                "Use fewer --workers or smaller runs."
            )
        fair = -(-missing // (_PACKS_PER_WORKER * self.workers))
        return min(MAX_RUNS, fitting, max(fair, min(tile_size(run, self.device), _SMALL_TILE)))

    def train(self, job: Job, packs: Iterator[Pack], tick: Callable[[], None]) -> Iterator[Outcome]:
        """See `Backend`; one worker trains in this process, several in processes of their own."""
        if self.workers == 1:
            yield from self._train_here(job, packs, tick)
        else:
            with _Crew(self, job) as crew:
                yield from crew.train(packs, tick)

    def _train_here(self, job: Job, packs: Iterator[Pack], tick: Callable[[], None]) -> Iterator[Outcome]:
        def look() -> bool:
            tick()
            return False

        torch.set_num_threads(1)
        worker = Worker(job, self.device, gone=look)
        store = Store(job.store)
        with worker.heeding_signals():
            for pack in packs:
                if worker.stop.is_set():
                    raise KeyboardInterrupt
                outcome, attempt = worker.train(pack), 1
                while outcome.kind == "failed" and attempt < ATTEMPTS:
                    outcome, attempt = worker.train(pack), attempt + 1
                if outcome.kind == "failed":
                    store.write_failure(pack.id, failure(outcome, attempt))
                if outcome.kind == "interrupted":
                    raise KeyboardInterrupt
                yield outcome


@dataclass
class _Member:
    """A worker process and what it is doing."""

    device: torch.device
    process: Any
    pipe: Connection
    pack: Pack | None = None


class _Crew:
    """Worker processes, fed through pipes; one that dies is replaced."""

    def __init__(self, local: Local, job: Job) -> None:
        self.local, self.job, self.store = local, job, Store(job.store)
        self.members: list[_Member] = []
        self.attempts: dict[str, int] = {}
        self.stopping = False

    def __enter__(self) -> "_Crew":
        load_ahead()  # if nobody has yet
        self.signals = answered(self._ask_to_stop)
        self.signals.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.pipe.close()  # ends an idle worker
            if member.pack is not None:
                _terminate(member)  # asks a busy one to write its state
        for member in self.members:
            member.process.join()
        self.signals.__exit__(None, None, None)

    def _ask_to_stop(self, *_: object) -> None:
        self.stopping = True
        for member in self.members:
            if member.pack is not None:
                _terminate(member)

    def _hire(self, device: torch.device) -> _Member:
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_work, args=(self.job, device, theirs, dict(os.environ)), daemon=True)
        try:
            with nameless():
                process.start()
        except EOFError:  # which the command line would take for Ctrl-D
            raise BackendError("no worker process can be started; expected one. See above, what ended it.") from None
        theirs.close()
        return _Member(device, process, ours)

    def train(self, packs: Iterator[Pack], tick: Callable[[], None]) -> Iterator[Outcome]:
        again: list[Pack] = []  # crashed, to be tried once more
        for device in self.local.devices:
            pack = next(packs, None)
            if pack is not None:
                self.members.append(self._hire(device))
                self._give(self.members[-1], pack)
        while any(member.pack for member in self.members):
            ready = wait([member.pipe for member in self.members if member.pack], timeout=_TICK_SECONDS)
            tick()
            for index, member in enumerate(self.members):
                if member.pipe not in ready or member.pack is None:
                    continue
                outcome = self._outcome(member)
                member.pack = None
                if self.stopping:
                    continue
                if outcome.kind == "interrupted":  # somebody stopped this worker alone
                    member.process.join()
                    again.append(outcome.pack)
                elif outcome.kind == "failed" and self._count(outcome) < ATTEMPTS:
                    again.append(outcome.pack)
                else:
                    yield outcome
                pack = again.pop() if again else next(packs, None)
                if pack is not None:
                    if not member.process.is_alive():
                        self.members[index] = self._hire(member.device)
                    self._give(self.members[index], pack)
        if self.stopping:
            raise KeyboardInterrupt

    def _give(self, member: _Member, pack: Pack) -> None:
        member.pack = pack
        member.pipe.send(pack)

    def _outcome(self, member: _Member) -> Outcome:
        assert member.pack is not None
        try:
            answer = member.pipe.recv()
        except (EOFError, OSError):
            member.process.join()
            code = member.process.exitcode or 0
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            hint = " Out of memory? See the system's log." if code == -signal.SIGKILL else ""
            return Outcome(member.pack, "failed", f"worker process died ({how}).{hint}")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _count(self, outcome: Outcome) -> int:
        pack = outcome.pack
        self.attempts[pack.id] = self.attempts.get(pack.id, 0) + 1
        self.store.write_failure(pack.id, failure(outcome, self.attempts[pack.id]))
        return self.attempts[pack.id]


def _terminate(member: _Member) -> None:
    """Ask a worker that has a pack, whatever the process that forked it says of it: that one may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(member.process.pid, signal.SIGTERM)


def _work(job: Job, device: torch.device, pipe: Connection, environment: dict[str, str]) -> None:
    """Run in a worker process: train what comes through the pipe until it is closed."""
    adopt(environment)
    torch.set_num_threads(1)  # workers side by side are faster than threads, which stall where cores are shared
    parent = multiprocessing.parent_process()
    worker = Worker(job, device, gone=lambda: pipe.closed or (parent is not None and not parent.is_alive()))
    with worker.heeding_signals():
        while not worker.stop.is_set():
            try:
                if not pipe.poll(_TICK_SECONDS):
                    continue
                outcome: Outcome | Exception = worker.train(pipe.recv())
            except EOFError:
                return
            except (StoreError, DataError) as error:
                outcome = error
            try:
                pipe.send(outcome)
            except BrokenPipeError:
                return
