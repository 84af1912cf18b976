"""SLURM, undisturbed: elements, arrays, reports, launchers that meet; the table is that of one machine."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from relusweep.cluster.slurm.queue import CANCELLED
from relusweep.cluster.slurm.submission import Submission
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.store import Store
from tests.cluster.slurm.cluster import Cluster
from tests.conftest import FLIPS

FIVE_HUNDRED = {"grid": "lr = { log = [0.01, 0.1, 10] }, seed = { range = [0, 50] }", "max_steps": 4000}


def test_500_runs_on_three_nodes_give_the_table_of_one_machine_though_it_is_compacted_meanwhile(
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    until: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    meanwhile: Any,
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
    equal_tables: Callable[[Path, Path], None],
) -> None:
    spec, store = tiny(**FIVE_HUNDRED), tmp_path / "a store"
    arguments = submitting(spec, store, seconds=160, cpus_per_task=4)  # a node has room for one job

    def is_done() -> bool:
        if len(Store(store).parts()) > 1:
            compact(Store(store))
        return len(Store(store).recorded()) == 500

    meanwhile(lambda: until(is_done))
    said = cli("run", *arguments, "--report")
    assert (said.code, said.err) == (0, "")
    assert f"{store}: 3 element(s) with 16 pack(s) are in SLURM's hands, job " in said.out
    assert f"{store}: all 500 runs are recorded. Next: relusweep report '{store}'" in said.out
    (submission,) = submissions(store)
    assert {submission.account_of(number)["node"] for number in range(3)} == {"node1", "node2", "node3"}
    assert submission.ended == "nothing is left to its elements"
    assert {path.stat().st_mode & 0o777 for path in (store / "jobs", submission.path)} == {0o700}
    verified(store)

    assert cli("run", spec, "--out", tmp_path / "here", "--workers", 1).code == 0
    equal_tables(store, tmp_path / "here")
    until((store / "report" / "index.html").exists)
    assert set(Store(store).read("runs", ["backend"])[0]["backend"].to_pylist()) == {"slurm"}


@pytest.mark.parametrize("slurm", [{"array_size": 2}], indirect=True)
def test_elements_beyond_the_largest_array_go_into_more_arrays(
    slurm: Cluster,
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
) -> None:
    spec, store = tiny(grid="lr = [0.1], seed = { range = [0, 96] }"), tmp_path / "store"
    said = cli("run", *submitting(spec, store, seconds=32, max_array_tasks=1))
    assert (said.code, said.err) == (0, "")
    (submission,) = submissions(store)
    assert [len(array) for array in submission.arrays] == [2, 1]
    assert len(set(submission.jobs)) == 2
    starts = sorted(submission.account_of(number)["time"] for number in range(3))
    ends = sorted(submission.end_of(number)["time"] for number in range(3))
    assert starts[1] > ends[0], "the second array waits for the first"
    assert starts[2] > ends[1], "and its elements for each other"
    verified(store)


@pytest.mark.parametrize("gpus", [1, 2])  # without a process of their own, and with one each
def test_element_that_is_done_trains_packs_of_one_that_waits_which_then_finds_nothing_to_do(
    gpus: int,
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
) -> None:
    spec, store = tiny(grid="lr = [0.1], seed = { range = [0, 96] }"), tmp_path / "store"
    said = cli("run", *submitting(spec, store, seconds=48 / gpus, max_array_tasks=1, gpus_per_job=gpus))
    assert (said.code, said.err) == (0, "")
    (submission,) = submissions(store)
    first, second = submission.elements
    assert sorted(submission.account_of(0)["taken"]) == sorted(second.packs)
    assert len(submission.account_of(0)["begun"]) == len(first.packs) + len(second.packs)
    assert "begun" not in submission.account_of(1)
    assert submission.end_of(1)["outcomes"] == {}
    verified(store)


def test_detached_run_returns_and_any_shell_can_follow_it_to_the_report(
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., Any],
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
) -> None:
    spec, store = tiny(max_steps=1_000_000, tolerance=0.0), tmp_path / "store"
    spec.write_text("study = 'stability'\n" + spec.read_text())
    said = cli("run", *submitting(spec, store), "--detach", "--report")
    assert (said.code, said.err) == (0, "")
    (job,) = submissions(store)[0].jobs
    assert f"1 element(s) with 1 pack(s) are in SLURM's hands, job {job}." in said.out
    assert f"jobs are to train 4 runs. Next: relusweep watch {store}, or cancel {store}" in said.out
    until(lambda: any((store / "progress").glob("[!.]*.json")))
    standing = cli("status", store)
    assert standing.code == 0
    report = json.loads((submissions(store)[0].path / "jobs.json").read_text())["report"]
    assert f"SLURM job {report} writes the report after the others: pending (Dependency)\n" in standing.out
    assert f"SLURM job(s) {job}: 1 of 1 element(s) left, 1 running" in standing.out
    assert re.search(rf"^  {job} on node1: \d s since its last progress$", standing.out, flags=re.M)
    watched = cli("watch", store)
    assert watched.code == 0
    assert f"SLURM job(s) {job}: 1 of 1 element(s) left, 1 running\n" in watched.out
    assert "4/4 runs" in watched.out
    until((store / "report" / "index.html").exists)
    verified(store)


def test_detached_run_with_refine_submits_a_round_each_time_it_is_given(
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., Any],
    submissions: Callable[[Path], list[Submission]],
    rows_on_disk: Callable[..., Any],
) -> None:
    store = tmp_path / "store"
    command = ("run", *submitting(tiny(**FLIPS), store), "--detach")
    for recorded in (4, 6):
        said = cli(*command)
        assert (said.code, said.err) == (0, "")
        assert " are in SLURM's hands, job " in said.out
        assert said.out.endswith(
            f"{store}: [refine] may ask for more when they are recorded: then the same command again.\n"
        )
        until(lambda recorded=recorded: len(Store(store).recorded()) == recorded)
    assert cli(*command).out.endswith(f"{store}: all 6 runs are recorded. Next: relusweep report {store}\n")
    assert len(submissions(store)) == 2
    assert rows_on_disk(store)["runs"] == 6


def test_runs_in_the_queue_are_neither_submitted_nor_trained_again(
    slurm: Cluster,
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    launch: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., Any],
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
) -> None:
    spec, store = tiny(), tmp_path / "store"
    arguments = submitting(spec, store)
    blockers = [
        slurm.sbatch("sleep 60", "--output=/dev/null", "--exclusive", f"--nodelist={node}") for node in slurm.nodes
    ]
    until(lambda: all(slurm.jobs()[job] == "RUNNING" for job in blockers))
    assert cli("run", *arguments, "--detach").code == 0
    again = cli("run", *arguments, "--detach")
    assert (again.code, again.err) == (0, "")
    assert "in SLURM's hands" not in again.out
    assert len(submissions(store)) == 1
    standing = cli("status", store)
    assert "1 of 1 element(s) left, 1 pending (" in standing.out
    planned = cli("plan", *arguments).out
    assert "\nqueued already    4\nto train          0\n" in planned
    assert "#SBATCH" not in planned

    here = launch("run", spec, "--out", store, "--workers", 1)  # a second shell, and on this machine
    until(lambda: here.poll() is not None or _said_that_it_waits(here))
    assert Store(store).recorded() == set()
    slurm.run("scancel", *blockers)
    assert here.wait(timeout=60) == 0
    assert set(Store(store).read("runs", ["backend"])[0]["backend"].to_pylist()) == {"slurm"}
    verified(store)


def _said_that_it_waits(process: "subprocess.Popen[str]") -> bool:
    assert process.stderr is not None
    return "jobs of another launcher are to train the last 4 runs; waiting for them." in process.stderr.readline()


def test_cancel_ends_what_was_submitted_for_a_store_and_nothing_else(
    slurm: Cluster,
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., Any],
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
) -> None:
    spec, store = tiny(max_steps=1_000_000, tolerance=0.0), tmp_path / "store"
    other = slurm.sbatch("sleep 60", "--output=/dev/null")
    assert cli("run", *submitting(spec, store), "--detach", "--report").code == 0
    (submission,) = submissions(store)
    report = json.loads((submission.path / "jobs.json").read_text())["report"]
    until(lambda: any((store / "progress").glob("[!.]*.json")))
    said = cli("cancel", store)
    assert (said.code, said.out) == (0, f"{store}: cancelled job(s) {submission.jobs[0]}, {report}\n")
    assert submission.ended == CANCELLED
    until(lambda: slurm.jobs()[submission.jobs[0]] == "CANCELLED")
    assert slurm.jobs()[other] == "RUNNING"
    assert cli("cancel", store).out == f"{store}: no job of it is in the queue\n"
    assert len(Store(store).checkpoints()) == 1  # it was told, and wrote its state

    assert cli("run", *submitting(spec, store)).code == 0
    assert len(submissions(store)) == 2
    verified(store)


def test_stopped_launcher_says_that_its_jobs_go_on_and_one_whose_jobs_are_cancelled_stops(
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    shell: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., Any],
    submissions: Callable[[Path], list[Submission]],
) -> None:
    spec = tiny(max_steps=100_000_000, tolerance=0.0)
    stores = [tmp_path / "stopped", tmp_path / "cancelled"]
    first, second = (shell("run", *submitting(spec, store)) for store in stores)
    for store in stores:
        until(lambda store=store: submissions(store) and submissions(store)[0].jobs)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=60)
    (job,) = submissions(stores[0])[0].jobs
    assert first.returncode == 130
    assert f"job(s) {job} go on. Next: relusweep watch {stores[0]}, or cancel {stores[0]}" in err
    assert cli("cancel", stores[1]).code == 0
    _, err = second.communicate(timeout=60)
    assert (second.returncode, "go on" in err.splitlines()[0]) == (130, False)
    assert cli("cancel", stores[0]).out == f"{stores[0]}: cancelled job(s) {job}\n"


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


def test_refusal_of_sbatch_is_one_line_in_its_own_words_and_leaves_nothing_pending(
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


def test_sweep_may_be_submitted_from_inside_a_job(
    slurm: Cluster,
    submitting: Callable[..., list[object]],
    tiny: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., Any],
    verified: Callable[[Path], None],
) -> None:
    store = tmp_path / "store"
    arguments = [f"'{word}'" for word in submitting(tiny(), store, gpus_per_job=2)]
    command = " ".join([sys.executable, "-m", "relusweep", "run", *arguments, "--detach"])
    outer = slurm.sbatch(command, "--gres=gpu:1", "--time=2", "--mem=100", f"--output={tmp_path}/outer.log")
    until(lambda: slurm.jobs()[outer] in ("COMPLETED", "FAILED"))
    assert slurm.jobs()[outer] == "COMPLETED", (tmp_path / "outer.log").read_text()
    until(lambda: len(Store(store).recorded()) == 4)
    verified(store)


def test_plan_shows_what_would_be_submitted_and_submits_nothing(
    slurm: Cluster,
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
) -> None:
    before = slurm.jobs()
    arguments = submitting(tiny(**FIVE_HUNDRED), tmp_path / "store", seconds=60, gpus_per_node=2, gpus_per_job=2)
    said = cli("plan", *arguments)
    assert (said.code, said.err) == (0, "")
    rows = {line[:18].strip(): line[18:] for line in said.out.splitlines()}
    assert rows["jobs"] == "1 array(s) of 4 element(s), each 58 s to 1 min 4 s at most"
    assert rows["GPU-hours"] == "about 0.14, 2 a job"
    assert rows["scheduler calls"].startswith("1 sbatch, 1 scontrol; squeue every ")
    assert "#SBATCH --gpus-per-node=2\n" in said.out
    assert "#SBATCH --array=0-" in said.out
    assert slurm.jobs() == before
    assert not (tmp_path / "store").exists()


def test_gpus_that_cannot_be_used_are_refused_by_a_torch_that_could(
    submitting: Callable[..., list[object]], cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    said = cli("run", *submitting(tiny(), tmp_path / "store", gpus_per_node=2))
    if torch.version.cuda is None:  # the launcher has warned: what has no driver has no GPU that could be idle
        assert said.code == 0
    else:
        assert said.code == 2
        assert re.search(r"SLURM gave 1 GPU\(s\), torch \S+ finds 0; expected as many", said.err)


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
