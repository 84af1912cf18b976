"""Element: one task of a SLURM array. Trains its packs as `local` does, and sees to it that it comes back.

An element whose packs are done early goes on with packs of others that nobody has begun: what packs really take is not
known when they are dealt out.

The node gets the same workers as a machine of one's own: a process a GPU, or one a core. What SLURM does to jobs comes
as a signal: the workers write their states, and the element asks to be queued again unless SLURM does that by itself.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import psutil

from relusweep.cluster.backend import BackendError, Outcome, failure
from relusweep.cluster.local.forks import load_ahead
from relusweep.cluster.signals import STOP_SIGNALS
from relusweep.cluster.slurm.machine import Machine
from relusweep.cluster.slurm.scheduler import requeue_this_element, this_element
from relusweep.cluster.slurm.submission import Submission
from relusweep.sweep.pack import Pack
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.lease import EXPIRY_SECONDS
from relusweep.sweep.store.run_ids import MergedIds
from relusweep.sweep.store.store import Store

IDLE_STARTS = 3  # in a row, without a recorded run or a later state: then the element gives up
_LOOK_SECONDS = 5.0  # between looks at packs that somebody else has claimed
_DRIVER = Path("/dev/nvidiactl")  # is there where a driver of GPUs is


def run(path: str, first: str, came: list[int]) -> None:
    """Train what is left of an element's packs, or be queued again.

    Args:
        path: Where the submission lies.
        first: Number of the first element of the array that this job belongs to.
        came: Signals, as they come.
    """
    submission, number = Submission(Path(path)), int(first) + int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    if submission.ended is not None or number in submission.ends():
        return
    try:
        outcomes = _train(submission, number, came)
    except KeyboardInterrupt:
        for each in STOP_SIGNALS:  # whatever else comes; the commands that we call inherit it
            signal.signal(each, signal.SIG_IGN)
        print("The states are written.", flush=True)
        if submission.ended is None and requeue_this_element():
            print("Queued again.", flush=True)
    except Exception as error:
        from relusweep.sweep.data import DataError

        if not isinstance(error, (BackendError, StoreError, DataError)):
            raise
        print(error, file=sys.stderr, flush=True)
        submission.end_element(number, {}, str(error), type(error).__name__)
    else:
        submission.end_element(number, outcomes)


def _train(submission: Submission, number: int, came: list[int]) -> dict[str, Any]:
    """Train until nothing is left that nobody else trains; gives kind and error of every pack by its id.

    Raises:
        KeyboardInterrupt: if a signal came; the states have been written.
    """
    account = _Account(submission, number)
    account.start()
    if account.gives_up:  # before anything is loaded: it was never left the time to
        return account.give_up()
    workers = workers_here(submission.content["machine"])
    if workers > 1:
        load_ahead()  # while this process loads the same
    from relusweep.cluster.local.backend import Local

    local = Local(workers)
    account.compare()
    if account.gives_up:
        return account.give_up()
    if came:
        raise KeyboardInterrupt
    passed_on = False

    def tick() -> None:
        nonlocal passed_on
        if came and not passed_on:  # between our handlers and those of the workers
            passed_on = True
            os.kill(os.getpid(), signal.SIGTERM)

    patience = time.monotonic() + EXPIRY_SECONDS + _LOOK_SECONDS
    while True:
        moved = False
        packs = account.begun(chain(account.left(), _spare(account, workers)))
        for outcome in local.train(submission.job, packs, tick):
            account.note(outcome)
            moved |= outcome.kind != "elsewhere"
        if came:
            raise KeyboardInterrupt
        if not account.left():
            return account.outcomes
        if moved:
            patience = time.monotonic() + EXPIRY_SECONDS + _LOOK_SECONDS
        elif time.monotonic() > patience:
            return account.outcomes  # whoever claimed them is alive: a claim of the dead would have lapsed
        else:
            time.sleep(_LOOK_SECONDS)


def _spare(account: "_Account", workers: int) -> Iterator[Pack]:
    """Take over packs of other elements, one for each worker at a time, as long as the job's time is enough for them.

    A pack that has failed, or whose process died, is left to its element: what kills a job is not to kill all of them.
    """
    submission = account.submission
    machine = Machine.model_validate(submission.content["machine"])
    end = psutil.Process().create_time() + machine.sure_seconds
    chance = random.Random(account.number)
    while submission.ended is None:
        untouched, left = submission.untouched(), end - time.time()
        spare = [k for k in untouched if k not in account.known and submission.bundles[k].seconds < left]
        if not spare:
            return
        yield from account.take(chance.sample(spare, min(workers, len(spare))))


class _Account:
    """What an element knows of itself and of its packs, over its restarts."""

    def __init__(self, submission: Submission, number: int) -> None:
        self.submission, self.number, self.store = submission, number, submission.store
        self.account: dict[str, Any] = {"idle_starts": 0} | submission.account_of(number)
        own, taken = submission.elements[number].packs, self.account.get("taken", [])
        self.known = {*own, *taken}  # row groups
        self.own = list(submission.packs(own))
        self.taken = list(submission.packs(taken))  # from other elements: no reason to give up
        self.outcomes: dict[str, list[str]] = {}  # by the pack as it was submitted
        self._origin: dict[str, str] = {}  # of a pack of which something has been recorded by others
        self._recorded, self._read = MergedIds(), set[Path]()

    @property
    def gives_up(self) -> bool:
        """Whether it has been started too often without getting anywhere."""
        return max(self.account["idle_starts"], self.account["unready_starts"]) > IDLE_STARTS

    def start(self) -> None:
        """Note one more start, before anything is loaded: a job that is stopped while it loads got nowhere."""
        for name in ("starts", "unready_starts"):
            self.account[name] = 1 + self.account.get(name, 0)
        self.account |= {"task": this_element(), "node": _node(), "time": time.time()}
        self.submission.write_account(self.number, self.account)

    def compare(self) -> None:
        """Note whether something came of the starts since the last comparison; loads torch."""
        left = self.own_left()
        standing = [-sum(len(pack.runs) for pack in left), steps_taken(self.store, (pack.id for pack in left))]
        before = self.account.get("standing")
        idle = self.account["unready_starts"]
        idle += self.account["idle_starts"] if before is not None and standing <= before else 0
        self.account |= {"standing": standing, "idle_starts": idle, "unready_starts": 0}
        self.submission.write_account(self.number, self.account)

    def give_up(self) -> dict[str, list[str]]:
        """List its own packs as failed; gives the outcomes."""
        for pack in self.own_left():
            error = f"its element {this_element()} was started {IDLE_STARTS} times in a row without getting any further"
            outcome = Outcome(pack, "failed", error)
            self.store.write_failure(pack.id, failure(outcome, IDLE_STARTS))
            self.note(outcome)
        return self.outcomes

    def begun(self, packs: Iterable[Pack]) -> Iterator[Pack]:
        """Hand out packs and note which: of an element that dies, these are the suspects."""
        for pack in packs:
            begun = self.account.setdefault("begun", [])
            origin = self._origin.get(pack.id, pack.id)
            if origin not in begun:
                begun.append(origin)
                self.submission.write_account(self.number, self.account)
            yield pack

    def note(self, outcome: Outcome) -> None:
        """Keep what became of a pack."""
        self.outcomes[self._origin.get(outcome.pack.id, outcome.pack.id)] = [outcome.kind, outcome.error]

    def take(self, numbers: list[int]) -> list[Pack]:
        """Take over packs of other elements, and note which, to go on with them after a restart."""
        self.known.update(numbers)
        self.account.setdefault("taken", []).extend(numbers)
        self.submission.write_account(self.number, self.account)
        packs = list(self.submission.packs(numbers))
        self.taken += packs
        return packs

    def left(self) -> list[Pack]:
        """Give what is to be trained yet, without what is recorded or has failed; what has a state comes first.

        What it took over when somebody else had just begun it is left to that one.
        """
        self.taken = [pack for pack in self.taken if self.outcomes.get(pack.id, [""])[0] != "elsewhere"]
        return self._rest(self.own + self.taken)

    def own_left(self) -> list[Pack]:
        """Give what is left of the packs that were given to it."""
        return self._rest(self.own)

    def _rest(self, packs: list[Pack]) -> list[Pack]:
        self._recorded.add(self.store.recorded_since(self.submission.job.since, self._read))
        left = []
        for pack in packs:
            recorded = self._recorded.among({run.id for run in pack.runs})
            rest = Pack(tuple(run for run in pack.runs if run.id not in recorded)) if recorded else pack
            if rest.runs and self.outcomes.get(pack.id, [""])[0] != "failed":
                self._origin[rest.id] = pack.id
                left.append(rest)
        return sorted(left, key=lambda pack: not self.store.checkpoint(pack.id).exists())


def steps_taken(store: Store, pack_ids: Iterable[str]) -> float:
    """Sum up the steps in the states of some packs."""
    from relusweep.sweep.execute import load_checkpoint

    states = (load_checkpoint(path) for pack_id in pack_ids if (path := store.checkpoint(pack_id)).exists())
    training = [saved["training"] for saved in states if saved]
    return float(sum(each["step"] + each["cursor"] / (1 + len(each["ids"])) for each in training))


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME", "?")


def workers_here(machine: dict[str, Any]) -> int:
    """Say how many workers this job has room for, and see to it that it got the GPUs that it asked for.

    Raises:
        BackendError: if it did not: a job would otherwise train on a core for hours while its GPU is idle.
    """
    asked = machine["gpus_per_job"]
    if not asked:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a GPU that is visible was not given to this job
        return max(1, min(machine["cpus_per_task"], len(os.sched_getaffinity(0))))
    visible = [device for device in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
    if len(visible) != asked:
        raise BackendError(
            f"job {this_element()} on {_node()}: asked for {asked} GPU(s), got "
            f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')!r}; expected as many. "
            "Correct gpus_per_job of the machine file, or ask those who run the cluster."
        )
    import torch

    if torch.version.cuda is None and _DRIVER.exists():
        raise BackendError(
            f"job {this_element()} on {_node()}: SLURM gave {asked} GPU(s), and torch {torch.__version__} "
            "cannot use any; expected a build with CUDA. Install one where jobs run, or set gpus_per_node = 0."
        )
    if torch.version.cuda is not None and torch.cuda.device_count() != asked:
        raise BackendError(
            f"job {this_element()} on {_node()}: SLURM gave {asked} GPU(s), "
            f"torch {torch.__version__} finds {torch.cuda.device_count()}; expected as many. Is the driver too old?"
        )
    return asked
