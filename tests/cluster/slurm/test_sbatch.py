"""Sbatch: a job has the cores that it asks for, and one that sbatch got no answer about is not lost."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.cluster.slurm.machine import Machine
from relusweep.cluster.slurm.sbatch import _submit, parameters
from relusweep.cluster.slurm.submission import Submission
from tests.cluster.slurm.cluster import Cluster


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs a machine of two cores")
@pytest.mark.parametrize("slurm", [{"nodes": 1, "cpus": 2, "binds": True}], indirect=True)
@pytest.mark.parametrize("machine", [{"cpus_per_task": 2}, {"gpus_per_node": 2, "gpus_per_job": 2}], ids=str)
def test_job_may_use_all_cores_that_it_asked_for(
    slurm: Cluster, machine: dict[str, int], tmp_path: Path, until: Callable[..., Any]
) -> None:
    asked = parameters(Machine.model_validate({"time": "10"} | machine), "cores", None, ())
    job = _submit(tmp_path / "logs", "grep Cpus_allowed_list /proc/self/status", asked)
    until(lambda: slurm.jobs()[job] == "COMPLETED")
    (log,) = (tmp_path / "logs").glob("*.out")
    assert log.read_text().split() == ["Cpus_allowed_list:", "0-1"]


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have a command of SLURM do what it is asked for, and say that no answer came."""
    folder = tmp_path / "broken"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(command: str) -> None:
        path = folder / command
        said = f"{command}: error: Socket timed out on send/recv operation"
        path.write_text(f'#!/bin/sh\n{shutil.which(command)} "$@" > {path}.said\necho "{said}" >&2\nexit 1\n')
        path.chmod(0o700)

    return make


def test_job_that_sbatch_got_no_answer_about_is_found_by_its_name(
    broken: Callable[[str], None],
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    submissions: Callable[[Path], list[Submission]],
) -> None:
    store = tmp_path / "store"
    arguments = submitting(tiny(), store)
    broken("sbatch")
    said = cli("run", *arguments, "--detach")
    assert (said.code, said.err) == (0, "")
    (submission,) = submissions(store)
    assert (tmp_path / "broken" / "sbatch.said").read_text() == f"Submitted batch job {submission.jobs[0]}\n"


def test_job_of_which_nobody_knows_whether_it_is_there_is_not_submitted_again(
    broken: Callable[[str], None],
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
) -> None:
    store = tmp_path / "store"
    arguments = submitting(tiny(), store)
    broken("sbatch")
    broken("squeue")
    said = cli("run", *arguments, "--detach")
    assert said.code == 2
    assert said.err == (
        "SchedulerError: sbatch: Socket timed out on send/recv operation; and whether there is a job nobody can say: "
        "squeue: error: Socket timed out on send/recv operation. Try again later, or ask those who run the cluster. "
        "The same command asks again.\n"
    )
    for command in ("sbatch", "squeue"):
        (tmp_path / "broken" / command).unlink()
    assert cli("run", *arguments).code == 0
    assert len(submissions(store)) == 1
    verified(store)
