"""Scheduler: the few calls to SLURM, each for all jobs at once, and what their answers mean."""

import os
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

from relusweep.cluster.backend import BackendError

MOST_ELEMENTS = 1001  # of an array, where `scontrol show config` cannot be asked: SLURM's default
_SECONDS = 60  # a controller that is busy answers late; one that is down, not at all
_ATTEMPTS = 3  # to be queued again: nobody else would see to it
_PAUSE_SECONDS = 2.0
_TASTES = ("SQUEUE_", "SCANCEL_", "SACCT_")  # variables that people set for what they type, such as SQUEUE_PARTITION
_ENDED = frozenset(
    [
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    ]
)


class SchedulerError(BackendError):
    """SLURM cannot be asked: the message says what was asked and what it said."""


@dataclass(frozen=True)
class Task:
    """An element of an array, as the queue shows it; or a whole job, whose index is 0."""

    name: str
    job: str
    index: int
    state: str
    reason: str
    node: str

    @property
    def id(self) -> str:
        """What SLURM calls it if it is an element of an array; a whole job is known by its number alone."""
        return f"{self.job}_{self.index}"

    @property
    def is_live(self) -> bool:
        """Whether it waits or runs, or will again."""
        return self.state not in _ENDED


def squeue(names: Iterable[str]) -> list[Task]:
    """Ask once for all of this user's jobs with these names, those that ended a short time ago included.

    Names, not ids: a name is known before its job is submitted, so that no kill comes between the two.

    Raises:
        SchedulerError: if there is no answer.
    """
    asked = ["-u", str(os.getuid()), f"--name={','.join(names)}", "-o", "%F|%K|%j|%T|%r|%N"]
    return read_squeue(_ask("squeue", "-h", "-r", "-t", "all", *asked))


def read_squeue(text: str) -> list[Task]:
    """Read lines of `squeue -r -o '%F|%K|%j|%T|%r|%N'`."""
    tasks = []
    for line in text.splitlines():
        job, index, name, state, reason, node = (part.strip() for part in line.split("|"))
        tasks.append(Task(name, job, int(index) if index.isdigit() else 0, state, reason, node))
    return tasks


def ends(jobs: Iterable[str]) -> dict[str, str]:
    """Ask accounting how jobs and elements ended; nothing where there is no accounting."""
    try:
        answer = _ask("sacct", "-n", "-P", "-X", "-o", "JobID,State", "-j", ",".join(jobs))
    except SchedulerError:
        return {}
    lines = (line.partition("|") for line in answer.splitlines())
    return {job: state.split()[0] for job, _, state in lines if state.split()}


def largest_array() -> int:
    """Ask how many elements an array may have."""
    try:
        return read_largest_array(_ask("scontrol", "show", "config"))
    except SchedulerError:
        return MOST_ELEMENTS


def read_largest_array(text: str) -> int:
    """Read MaxArraySize, one more than the largest index, and max_array_tasks from `scontrol show config`."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, flags=re.M)
    fewer = re.search(r"^SchedulerParameters\s*=.*\bmax_array_tasks=(\d+)", text, flags=re.M)
    return max(1, min([int(each[1]) for each in (found, fewer) if each], default=MOST_ELEMENTS))


def node_names(hostlist: str) -> list[str]:
    """Spell out what SLURM writes as node[1-3]."""
    return _ask("scontrol", "show", "hostnames", hostlist).split()


def cancel(jobs: Iterable[str]) -> None:
    """Cancel jobs by their ids, in one call; those that have ended by now are no error."""
    _ask("scancel", "--quiet", *jobs)


def requeue_this_element() -> bool:
    """Ask, from inside a job, that it run again; returns whether SLURM will.

    A job that SLURM is ending already is left alone: one that was pre-empted comes back by itself, and one that was
    cancelled must not.
    """
    mine = this_element()
    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE_SECONDS * attempt)
        try:
            if _ask("squeue", "-h", "-j", mine, "-o", "%T").strip() != "RUNNING":
                return False
            _ask("scontrol", "requeue", mine)
            return True
        except SchedulerError as error:
            print(error, flush=True)
    return False


def this_element() -> str:
    """Give the id of the job that this process runs in; that of its number alone may mean the whole array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID", "")


def _ask(command: str, *arguments: str) -> str:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(_TASTES)}
    try:
        done = subprocess.run(
            [command, *arguments], env=variables, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise SchedulerError(f"{command}: not found on this machine; expected SLURM. Use a login node.") from None
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{command}: no answer within {_SECONDS} s; expected one. Is slurmctld up?") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise SchedulerError(f"{said[0].rstrip('.')}. Try again later, or ask those who run the cluster.")
    return done.stdout
