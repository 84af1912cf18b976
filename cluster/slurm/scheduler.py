"""Scheduler: the few calls to SLURM, each for all jobs at once, and what their answers mean."""

import os
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

from relusweep.cluster.backend import BackendError

MOST_TASKS = 1001  # of an array, where `scontrol show config` cannot be asked: SLURM's default
_SECONDS = 60  # a controller that is busy answers late; one that is down, not at all
_ATTEMPTS = 3  # to be queued again: no one else does it
_PAUSE_SECONDS = 2.0
# What people set for what they type, as SQUEUE_PARTITION or SBATCH_RESERVATION: no command of ours is given any of it,
# so that jobs are sought, and cancelled, where they were submitted.
_SET_ASIDE = ("SBATCH_", "SQUEUE_", "SCANCEL_", "SACCT_", "SCONTROL_", "SLURM_CLUSTERS")
_NUMBER = re.compile("[0-9]{1,18}")
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
    """SLURM cannot be asked: the message holds what was asked and what it answered."""


@dataclass(frozen=True)
class QueuedTask:
    """A task of an array, as the queue shows it; or a whole job, whose index is 0."""

    name: str
    job: str
    index: int
    state: str
    reason: str
    node: str

    @property
    def id(self) -> str:
        """What SLURM calls it if it is a task of an array; a whole job is known by its number alone."""
        return f"{self.job}_{self.index}"

    @property
    def is_live(self) -> bool:
        """Whether it waits or runs, or will again."""
        return self.state not in _ENDED


_SQUEUE_FORMAT = "%F|%K|%j|%T|%r|%N"


def squeue(names: Iterable[str]) -> list[QueuedTask]:
    """Return, with one call, all of this user's jobs with these names, those that ended a short time ago included.

    Names, not ids: a name is known before its job is submitted, so that no kill comes between the two.

    Raises:
        SchedulerError: if there is no answer.
    """
    asked = ["-u", str(os.getuid()), f"--name={','.join(names)}", "-o", _SQUEUE_FORMAT]
    return read_squeue(_ask("squeue", "-h", "-r", "-t", "all", *asked))


def read_squeue(text: str) -> list[QueuedTask]:
    """Return what is in lines of `squeue -r -o '%F|%K|%j|%T|%r|%N'`."""
    tasks = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != _SQUEUE_FORMAT.count("|") + 1:
            continue  # what a site's wrapper around squeue prints
        job, index, name, state, reason, node = parts
        if _NUMBER.fullmatch(job):
            tasks.append(QueuedTask(name, job, int(index) if _NUMBER.fullmatch(index) else 0, state, reason, node))
    return tasks


def ends(jobs: Iterable[str]) -> dict[str, str]:
    """Return how jobs and array tasks ended, by accounting; nothing where there is none."""
    try:
        answer = _ask("sacct", "-n", "-P", "-X", "-o", "JobID,State", "-j", ",".join(jobs))
    except SchedulerError:
        return {}
    lines = (line.partition("|") for line in answer.splitlines())
    return {job: state.split()[0] for job, _, state in lines if state.split()}


def largest_array() -> int:
    """Return how many tasks an array may have."""
    try:
        return read_largest_array(_ask("scontrol", "show", "config"))
    except SchedulerError:
        return MOST_TASKS


def read_largest_array(text: str) -> int:
    """Return the lesser of MaxArraySize and max_array_tasks in what `scontrol show config` prints."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d{1,18})\b", text, flags=re.M)
    fewer = re.search(r"^SchedulerParameters\s*=.*\bmax_array_tasks=(\d{1,18})\b", text, flags=re.M)
    return max(1, min([int(each[1]) for each in (found, fewer) if each], default=MOST_TASKS))


def node_names(hostlist: str) -> list[str]:
    """Return the names in what SLURM writes as node[1-3]."""
    return _ask("scontrol", "show", "hostnames", hostlist).split()


def set_aside() -> list[str]:
    """Return the variables that ask sbatch for something here, and are not passed on."""
    return sorted(name for name in os.environ if name.startswith(("SBATCH_", "SLURM_CLUSTERS")))


def cancel(jobs: Iterable[str], *, only_pending: bool = False) -> None:
    """Cancel jobs by their ids, in one call; those that have ended by now are no error."""
    _ask("scancel", "--quiet", *(["--state=PENDING"] if only_pending else []), *jobs)


def requeue_this_job() -> bool:
    """Ask, from inside a job or a task of an array, that it run again; return whether SLURM will.

    A job that SLURM is ending already is left alone: one that was pre-empted comes back by itself, and one that was
    cancelled must not.
    """
    mine = this_job()
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


def this_job() -> str:
    """Return the id of the job, or of the task of an array, that this process runs in.

    Of a task, its job's number alone may mean the whole array.
    """
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID", "")


def _ask(command: str, *arguments: str) -> str:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(_SET_ASIDE)}
    try:
        done = subprocess.run(
            [command, *arguments], env=variables, capture_output=True, stdin=subprocess.DEVNULL, timeout=_SECONDS,
            check=False, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise SchedulerError(f"{command}: not found on this machine; expected SLURM. Use a login node.") from None
    except OSError as error:
        raise SchedulerError(f"{command}: {error.strerror}; expected SLURM. Use a login node.") from None
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{command}: no answer within {_SECONDS} s; expected one. Is slurmctld up?") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise SchedulerError(f"{lines[0].rstrip('.')}. Try again later, or ask those who run the cluster.")
    return done.stdout
