"""Worker pool: processes of this machine that train packs side by side, one a GPU or one a core."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from relusweep.cluster.backend import ATTEMPTS, Assignment, BackendError, Outcome, failure
from relusweep.cluster.host.memory import kills
from relusweep.cluster.host.signals import answered
from relusweep.cluster.local.forks import CONTEXT, adopt, load_ahead, nameless
from relusweep.cluster.worker import Worker
from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.pack import Pack
from relusweep.sweep.store.store import Store

_TICK_SECONDS = 0.5
_SIGNAL_SECONDS = 1.0  # between the ends of several processes that get the same signal


@dataclass
class _Member:
    """A worker process and the pack that it trains."""

    device: torch.device
    process: Any
    pipe: Connection
    pack: Pack | None = None
    kills: int = field(default_factory=kills)  # for want of memory, before it was started

    def give(self, pack: Pack) -> None:
        self.pack = pack
        self.pipe.send(pack)

    def stop(self) -> None:
        """Have it write its state, if it trains: by its id, as the process that forked it may be gone."""
        if self.pack is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGTERM)

    def outcome(self) -> Outcome:
        """Return what became of its pack.

        Raises:
            RelusweepError: what stopped the worker.
        """
        assert self.pack is not None
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            starved = code == -signal.SIGKILL and kills() > self.kills
            hint = " There was not enough memory." if starved else " Out of memory? See the system's log."
            hint = hint if code == -signal.SIGKILL else ""
            return Outcome(self.pack, "failed", f"worker process died ({how}).{hint}", out_of_memory=starved)
        if isinstance(answer, Exception):
            raise answer
        return answer


class WorkerPool:
    """Worker processes, fed through pipes; one that dies is replaced."""

    def __init__(self, assignment: Assignment, devices: list[torch.device]) -> None:
        self.assignment, self.devices, self.store = assignment, devices, Store(assignment.store)
        self.members: list[_Member] = []
        self.attempts: dict[str, int] = {}
        self.stopping = False

    @classmethod
    @contextmanager
    def started(cls, assignment: Assignment, devices: list[torch.device]) -> Iterator["WorkerPool"]:
        """Yield a pool with a worker for each device; at the end all have stopped, their states written."""
        load_ahead()  # if it was not yet
        pool = cls(assignment, devices)
        with answered(pool.stop):
            try:
                yield pool
            finally:
                for member in pool.members:
                    member.pipe.close()  # ends an idle worker
                    member.stop()
                for member in pool.members:
                    member.process.join()

    def stop(self, *_: object) -> None:
        """Have the workers write their states, and begin nothing."""
        self.stopping = True
        for member in self.members:
            member.stop()

    def train(self, packs: Iterator[Pack], tick: Callable[[], None]) -> Iterator[Outcome]:
        """Train packs, drawn as workers become free; yield each one's last outcome.

        Args:
            packs: What to train.
            tick: Called about twice a second.

        Raises:
            RelusweepError: what stopped a worker.
            KeyboardInterrupt: if a signal came.
        """
        again: list[Pack] = []  # crashed, to be tried once more
        for device in self.devices:
            pack = next(packs, None)
            if pack is not None:
                self.members.append(self._fork(device))
                self.members[-1].give(pack)
        while any(member.pack for member in self.members):
            ready = wait([member.pipe for member in self.members if member.pack], timeout=_TICK_SECONDS)
            tick()
            for index, member in enumerate(self.members):
                if member.pipe not in ready or member.pack is None:
                    continue
                outcome = member.outcome()
                member.pack = None
                if self.stopping:
                    continue
                if outcome.kind == "interrupted":  # a signal came to this worker alone
                    member.process.join()
                    again.append(outcome.pack)
                elif outcome.kind == "failed" and (len(outcome.next_attempt) > 1 or self._count(outcome) < ATTEMPTS):
                    again += outcome.next_attempt
                else:
                    yield outcome
                pack = again.pop() if again else next(packs, None)
                if pack is not None:
                    if not member.process.is_alive():
                        self.members[index] = self._fork(member.device)
                    self.members[index].give(pack)
        if self.stopping:
            raise KeyboardInterrupt

    def _fork(self, device: torch.device) -> _Member:
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_work, args=(self.assignment, device, theirs, dict(os.environ)), daemon=True)
        try:
            with nameless():
                process.start()
        except EOFError:  # which the command line would take for Ctrl-D
            if self._is_stopped():
                raise KeyboardInterrupt from None
            raise BackendError("no worker process can be started; expected one. See above, what ended it.") from None
        theirs.close()
        return _Member(device, process, ours)

    def _is_stopped(self) -> bool:
        """Return whether a stop signal has come; one sent to all our processes may end the workers' origin first."""
        end = time.monotonic() + _SIGNAL_SECONDS
        while not self.stopping and time.monotonic() < end:
            time.sleep(0.01)
        return self.stopping

    def _count(self, outcome: Outcome) -> int:
        pack = outcome.pack
        self.attempts[pack.id] = self.attempts.get(pack.id, 0) + 1
        self.store.write_failure(pack.id, failure(outcome, self.attempts[pack.id]))
        return self.attempts[pack.id]


def _work(assignment: Assignment, device: torch.device, pipe: Connection, environment: dict[str, str]) -> None:
    """Run in a worker process: train what comes through the pipe until it is closed."""
    adopt(environment)
    torch.set_num_threads(1)  # workers side by side are faster than threads, which stall where cores are shared
    parent = multiprocessing.parent_process()
    worker = Worker(assignment, device, gone=lambda: pipe.closed or (parent is not None and not parent.is_alive()))
    with worker.stopped_by_signals():
        while not worker.stop.is_set():
            try:
                if not pipe.poll(_TICK_SECONDS):
                    continue
                outcome: Outcome | Exception = worker.train(pipe.recv())
            except (EOFError, ConnectionError):  # the launcher is gone
                return
            except RelusweepError as error:
                outcome = error
            try:
                pipe.send(outcome)
            except ConnectionError:
                return
