"""Sbatch: what is asked for is what the machine file says; what sbatch answers, or does not, loses no job."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relusweep.cluster.backend import BackendError
from relusweep.cluster.slurm.machine import Machine
from relusweep.cluster.slurm.sbatch import _submit, parameters, script
from relusweep.cluster.slurm.submission import Submission
from tests.cluster.slurm.cluster import Cluster


def test_script_asks_for_what_the_machine_file_says(tmp_path):
    machine = Machine.model_validate(
        {
            "account": "a", "partition": "gpu", "qos": "q", "constraint": "x|y", "gpus_per_node": 4, "gpus_per_job": 2,
            "cpus_per_task": 3, "mem": "16G", "time": "1:30:30", "signal_seconds": 120, "max_array_tasks": 7,
            "setup": ["module load 'cuda 12'"], "environment": {"A": "it's $HOME"}, "scratch": "/tmp/$USER/a b",
        }
    )  # fmt: skip
    lines = script(machine, "name", tmp_path / "a b", 20, 7).splitlines()
    asked = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert asked == {
        "--account=a", "--partition=gpu", "--qos=q", "--constraint='x|y'", "--gpus-per-node=2", "--cpus-per-task=6",
        "--mem=16G", "--time=91", "--signal=USR2@120", "--array=0-19%7", "--nodes=1", "--ntasks-per-node=1",
        "--requeue", "--job-name=name", "--open-mode=append", f"--output='{tmp_path}/a b/%A_%a_0_log.out'",
    }  # fmt: skip
    begin = lines.index("module load 'cuda 12'")
    assert lines[begin + 1 : begin + 5] == [
        "export PYTHONSAFEPATH=1",
        'mkdir -p -m 700 "/tmp/$USER/a b"',
        'export TMPDIR="/tmp/$USER/a b" XDG_CACHE_HOME="/tmp/$USER/a b"',
        """export A='it'"'"'s $HOME'""",
    ]


def test_script_leaves_out_what_the_machine_file_leaves_out(tmp_path):
    lines = script(Machine(time="60"), "name", tmp_path, 1, None).splitlines()
    assert [line.split("=")[0] for line in lines if line.startswith("#SBATCH")] == [
        f"#SBATCH --{key}"
        for key in (
            "cpus-per-task", "job-name", "nodes", "ntasks-per-node", "open-mode", "output", "requeue", "signal", "time",
        )
    ]  # fmt: skip


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
    """Have a command of SLURM do what it is asked for, and print that no answer came."""
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


def test_job_of_which_it_is_unknown_whether_it_is_there_is_not_submitted_again(
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
        "SchedulerError: sbatch: Socket timed out on send/recv operation; could not confirm that the job exists: "
        "squeue: error: Socket timed out on send/recv operation. Try again later, or ask those who run the cluster. "
        "The same command asks again.\n"
    )
    for command in ("sbatch", "squeue"):
        (tmp_path / "broken" / command).unlink()
    assert cli("run", *arguments).code == 0
    assert len(submissions(store)) == 1
    verified(store)


def test_refusal_of_sbatch_is_one_line_with_its_message_and_leaves_nothing_pending(
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    verified: Callable[[Path], None],
) -> None:
    spec, store = tiny(), tmp_path / "store"
    said = cli("run", *submitting(spec, store, partition="nope"))
    assert said.code == 2
    assert said.err == (
        "BackendError: sbatch refused: invalid partition specified: nope; Batch job submission failed: "
        "Invalid partition name specified. Correct the machine file, then run the same command again.\n"
    )
    assert not any((store / "jobs").iterdir())
    assert cli("run", *submitting(spec, store)).code == 0
    verified(store)


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bytes, bytes, int], Path]]:
    """Make sbatch print something and exit with a code, where no SLURM knows of a job; returns where it is asked."""
    folder = tmp_path_factory.mktemp("answers")
    for name in ("sbatch", "squeue"):
        (folder / name).write_text(
            f'#!/bin/sh\ncat "{folder}/out"; cat "{folder}/err" >&2; exit $(cat "{folder}/code")\n'
        )
        (folder / name).chmod(0o755)
    (folder / "squeue").write_text("#!/bin/sh\n")
    shutil.copy(folder / "squeue", folder / "srun")  # submitit looks for it

    def answer(out: bytes, err: bytes, code: int) -> Path:
        (folder / "out").write_bytes(out)
        (folder / "err").write_bytes(err)
        (folder / "code").write_text(str(code))
        return folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield answer


ASKED = {"job_name": "relusweep-0", "time": 1}


@given(
    st.binary(max_size=60), st.binary(max_size=60) | st.text(max_size=40).map(str.encode), st.sampled_from([0, 1, 255])
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_sbatch_prints_is_the_id_of_a_job_or_one_line(
    answering: Callable[[bytes, bytes, int], Path], out: bytes, err: bytes, code: int
) -> None:
    folder = answering(out, err, code)
    try:
        said = _submit(folder / "logs", "true", ASKED)
    except BackendError as error:
        said = str(error)
    assert said.isdigit() or len(said.splitlines()) == 1


def test_id_is_that_of_sbatchs_own_line(answering: Callable[[bytes, bytes, int], Path]) -> None:
    out = b"cluster-wide limit: a job 7 days long\nSubmitted batch job 4711 on cluster one\nhave a nice day\n"
    assert _submit(answering(out, b"", 0) / "logs", "true", ASKED) == "4711"


@pytest.mark.parametrize("moment", ["before sbatch", "right after sbatch"])
def test_launcher_that_is_killed_around_sbatch_loses_no_run_and_doubles_none(
    moment: str,
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    shell: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
) -> None:
    spec, store = tiny(max_steps=200_000, tolerance=0.0), tmp_path / "store"
    arguments = submitting(spec, store)
    place = {
        "before sbatch": "relusweep.cluster.slurm.backend.submit_array",
        "right after sbatch": "submitit.core.utils.JobPaths.move_temporary_file",
    }[moment]
    killed = shell("run", *arguments, kills_itself_in=place)
    assert killed.wait(timeout=60) == -signal.SIGKILL
    (submission,) = submissions(store)
    assert (submission.jobs, submission.ended) == ([], None)
    assert cli("run", *arguments).code == 0
    assert len(submissions(store)) == (2 if moment == "before sbatch" else 1)
    verified(store)


def test_missing_submitit_is_one_line(
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = submitting(tiny(), tmp_path / "store")
    for module in ("relusweep.cluster.slurm.backend", "relusweep.cluster.slurm.sbatch"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "submitit", None)
    said = cli("run", *arguments)
    assert (said.code, said.err) == (
        2, "BackendError: --on slurm: submitit is not installed; expected it. pip install 'relusweep[slurm]'\n"
    )  # fmt: skip
