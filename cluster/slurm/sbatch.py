"""Sbatch: what submitit is asked for. It writes the scripts and calls sbatch; a job needs nothing but its command."""

import io
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from relusweep.cluster.backend import BackendError
from relusweep.cluster.slurm.machine import Machine
from relusweep.cluster.slurm.scheduler import SchedulerError, squeue
from relusweep.cluster.slurm.submission import Submission
from relusweep.sweep.store.atomic import store_errors

try:
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError
    from submitit.helpers import clean_env
    from submitit.slurm.slurm import _make_sbatch_string
except ImportError:
    raise BackendError("--on slurm: submitit is not installed; expected it. pip install 'relusweep[slurm]'") from None


def parameters(machine: Machine, name: str, at_one_time: int | None, after: Sequence[str]) -> dict[str, Any]:
    """Return submitit's parameters of a job: one task, with the cores and GPUs of all its workers."""
    forced: dict[str, Any] = {"requeue": True}
    cores = machine.cpus_per_task * machine.ranks
    if machine.mem is not None:
        forced["mem"] = machine.mem  # submitit knows GB only
    given = {
        "account": machine.account,
        "partition": machine.partition,
        "qos": machine.qos,
        "constraint": machine.constraint,
        "gpus_per_node": machine.gpus_per_job or None,
        "array_parallelism": at_one_time,
        "dependency": f"afterany:{':'.join(after)}" if after else None,
    }
    return {key: value for key, value in given.items() if value is not None} | {
        "job_name": name,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": cores,
        "time": -(-machine.seconds // 60),
        "signal_delay_s": machine.signal_seconds,
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own default, which some sites refuse
        "setup": _setup(machine),
        "srun_args": ["--wait=0", f"--cpus-per-task={cores}"],  # not taken over since 22.05: all would share one core
        "additional_parameters": forced,
    }


def script(machine: Machine, name: str, folder: Path, tasks: int, at_one_time: int | None) -> str:
    """Return the script of an array as it would be submitted."""
    asked: dict[str, Any] = {"array_parallelism": tasks} | parameters(machine, name, at_one_time, ())
    return _make_sbatch_string(_train(folder.parent, 0), folder, map_count=_map_count(tasks), **asked)


def submit_array(submission: Submission, array: int, at_one_time: int | None, after: Sequence[str]) -> str:
    """Submit an array of a submission; return its job's id.

    Raises:
        BackendError: if sbatch refuses, with its message.
    """
    tasks = submission.arrays[array]
    asked = parameters(_machine(submission), submission.job_name(array), at_one_time or len(tasks), after)
    return _submit(submission.path / "logs", _train(submission.path, tasks.start), asked, _map_count(len(tasks)))


def submit_report(submission: Submission, after: Sequence[str]) -> str:
    """Submit a job that writes the report when other jobs have ended, however they did; return its id.

    Raises:
        BackendError: if sbatch refuses, with its message.
    """
    asked = parameters(_machine(submission), submission.job_name("report"), None, after)
    command = shlex.join([sys.executable, "-u", "-m", "relusweep", "report", str(submission.store.path)])
    return _submit(submission.path / "report", command, asked)


def _train(submission: Path, first: int) -> str:
    """Return the command of an array whose first task has this number."""
    return shlex.join([sys.executable, "-u", "-m", "relusweep.cluster.slurm.start", str(submission), str(first)])


def _map_count(tasks: int) -> int | None:
    return tasks if tasks > 1 else None  # of one, a plain job


class _Executor(SlurmExecutor):
    """Takes the id from sbatch's own line, whatever a wrapper prints around it."""

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        text = string if isinstance(string, str) else string.decode(errors="replace")
        found = re.search(r"^Submitted batch job ([0-9]+)\b", text, re.MULTILINE)
        return found[1] if found else SlurmExecutor._get_job_id_from_submission_command(text)


def _submit(folder: Path, command: str, asked: dict[str, Any], map_count: int | None = None) -> str:
    """Submit a command as it is: of a pickled function, the job would wait for what we write after sbatch's answer."""
    with store_errors(folder), _outside_of_jobs(), redirect_stderr(io.StringIO()):  # submitit prints what it raises too
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            executor = _Executor(folder)
            executor.update_parameters(**asked)
            executor.parameters["map_count"] = map_count
            return executor._submit_command(command).job_id
        except (FailedJobError, FailedSubmissionError, RuntimeError) as error:
            lines = [line.removeprefix("sbatch: error: ").strip() for line in str(error).splitlines()]
            answer = "; ".join(line for line in lines if line and not line.startswith("subprocess"))
            if there := _job_of(asked["job_name"], answer):  # sbatch got no answer about it
                return there
            raise BackendError(
                f"sbatch refused: {answer}. Correct the machine file, then run the same command again."
            ) from None


def _job_of(name: str, answer: str) -> str | None:
    """Return the id of the job of this name, if SLURM has one whatever sbatch's answer was.

    Raises:
        SchedulerError: if SLURM does not answer.
    """
    try:
        return next((task.job for task in squeue([name])), None)
    except SchedulerError as error:
        raise SchedulerError(
            f"sbatch: {answer}; could not confirm that the job exists: {error} The same command asks again."
        ) from None


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide the variables of a job that we may be in, and what would override the machine file."""
    where = os.environ.get("SLURM_CONF")  # says which cluster, not which job
    with clean_env():
        if where is not None:
            os.environ["SLURM_CONF"] = where
        yield


def _machine(submission: Submission) -> Machine:
    return Machine.model_validate(submission.content["machine"])


def _setup(machine: Machine) -> list[str]:
    lines = [*machine.setup, "export PYTHONSAFEPATH=1"]  # no package of the folder where the job was submitted
    if machine.scratch is not None:
        quoted = '"' + "".join(f"\\{c}" if c in '\\"`' else c for c in machine.scratch) + '"'  # variables are expanded
        lines += [f"mkdir -p -m 700 {quoted}", f"export TMPDIR={quoted} XDG_CACHE_HOME={quoted}"]
    return [*lines, *(f"export {name}={shlex.quote(value)}" for name, value in machine.environment.items())]
