"""Element: one task of a SLURM array. Trains its packs as `local` does, and sees to it that it comes back.

The node gets the same workers as a machine of one's own: a process a GPU, or one a core. What SLURM does to jobs comes
as a signal: the workers write their states, and the element asks to be queued again unless SLURM does that by itself.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.backend import BackendError, Outcome
from cluster.forks import load_ahead
from cluster.scheduler import requeue_this_element, this_element
from cluster.submission import Submission
from sweep.claim import LAPSE_SECONDS
from sweep.durable import StoreError
from sweep.ids import MergedIds
from sweep.pack import Pack
from sweep.store import Store

IDLE_STARTS = 3  # without a recorded run or a later state in between: then the element gives up
_LOOK_SECONDS = 5.0  # between looks at packs that somebody else has claimed
_DRIVER = Path("/dev/nvidiactl")  # is there where a driver of GPUs is
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class TrainElement:
    """What submitit calls on the node; it keeps where the submission lies, and a number."""

    path: Path
    number: int

    def __call__(self) -> None:
        """Train what is left of the element's packs, or be queued again."""
        came: list[int] = []
        for number in _SIGNALS:  # submitit's own handlers would write an error and let a job below 10 minutes end
            signal.signal(number, lambda number, _: came.append(number))
        submission = Submission(self.path)
        if submission.ended is not None or self.number in submission.ends():
            return
        try:
            outcomes = _train(submission, self.number, came)
        except KeyboardInterrupt:
            for number in _SIGNALS:  # whatever else comes; the commands that we call inherit it
                signal.signal(number, signal.SIG_IGN)
            print("The states are written.", flush=True)
            if submission.ended is None and requeue_this_element():
                print("Queued again.", flush=True)
        except Exception as error:
            from sweep.data import DataError

            if not isinstance(error, (BackendError, StoreError, DataError)):
                raise
            print(error, file=sys.stderr, flush=True)
            submission.end_element(self.number, {}, str(error), type(error).__name__)
        else:
            submission.end_element(self.number, outcomes)


def _train(submission: Submission, number: int, came: list[int]) -> dict[str, Any]:
    """Train until nothing is left that nobody else trains; gives kind and error of every pack by its id.

    Raises:
        KeyboardInterrupt: if a signal came; the states have been written.
    """
    load_ahead()  # while this process loads the same
    workers = workers_here(submission.content["machine"])
    if came:
        raise KeyboardInterrupt
    from cluster.local import Local
    from cluster.worker import failure

    local = Local(workers)
    account = _Account(submission, number)
    account.start()
    if account.gives_up:
        for pack in account.left():
            error = f"its element {this_element()} was started {IDLE_STARTS} times in a row without getting any further"
            outcome = Outcome(pack, "failed", error)
            submission.store.write_failure(pack.id, failure(outcome, IDLE_STARTS))
            account.note(outcome)
        return account.outcomes
    passed_on = False

    def tick() -> None:
        nonlocal passed_on
        if came and not passed_on:  # between our handlers and those of the workers
            passed_on = True
            os.kill(os.getpid(), signal.SIGTERM)

    patience = time.monotonic() + LAPSE_SECONDS + _LOOK_SECONDS
    while left := account.left():
        moved = False
        for outcome in local.train(submission.job, account.begun(left), tick):
            account.note(outcome)
            moved |= outcome.kind != "elsewhere"
        if came:
            raise KeyboardInterrupt
        if moved:
            patience = time.monotonic() + LAPSE_SECONDS + _LOOK_SECONDS
        elif time.monotonic() > patience:
            break  # whoever claimed them is alive: a claim of the dead would have lapsed
        elif account.left():
            time.sleep(_LOOK_SECONDS)
    return account.outcomes


class _Account:
    """What an element knows of itself and of its packs, over its restarts."""

    def __init__(self, submission: Submission, number: int) -> None:
        self.submission, self.number, self.store = submission, number, submission.store
        self.packs = list(submission.packs(submission.elements[number].packs))
        self.outcomes: dict[str, list[str]] = {}  # by the pack as it was submitted
        self.account = submission.account_of(number)
        self._origin: dict[str, str] = {}  # of a pack of which something has been recorded by others
        self._recorded, self._read = MergedIds(), set[Path]()

    @property
    def gives_up(self) -> bool:
        """Whether it has been started too often without getting anywhere."""
        return self.account["idle_starts"] > IDLE_STARTS

    def start(self) -> None:
        """Note one more start, and whether something came of the last one."""
        left = self.left()
        standing = [-sum(len(pack.runs) for pack in left), steps_taken(self.store, (pack.id for pack in left))]
        before = self.account.get("standing")
        idle = 1 + (self.account["idle_starts"] if before is not None and standing <= before else 0)
        self.account |= {"standing": standing, "idle_starts": idle, "starts": self.account.get("starts", 0) + 1}
        self.account |= {"task": this_element(), "node": _node(), "time": time.time()}
        self.submission.write_account(self.number, self.account)

    def begun(self, packs: list[Pack]) -> Iterator[Pack]:
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

    def left(self) -> list[Pack]:
        """Give what is to be trained yet, without what is recorded or has failed; what has a state comes first."""
        self._recorded.add(self.store.recorded_since(self.submission.job.since, self._read))
        left = []
        for pack in self.packs:
            recorded = self._recorded.among({run.id for run in pack.runs})
            rest = Pack(tuple(run for run in pack.runs if run.id not in recorded)) if recorded else pack
            if rest.runs and self.outcomes.get(pack.id, [""])[0] != "failed":
                self._origin[rest.id] = pack.id
                left.append(rest)
        return sorted(left, key=lambda pack: not self.store.checkpoint(pack.id).exists())


def steps_taken(store: Store, pack_ids: Iterable[str]) -> float:
    """Sum up the steps in the states of some packs."""
    from sweep.execute import load_checkpoint

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
