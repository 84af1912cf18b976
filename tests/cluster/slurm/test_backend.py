"""SLURM, undisturbed: packs, tasks, arrays, reports, launchers that meet; the table is that of one machine."""

import json
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from relusweep.cluster.backend import BackendError
from relusweep.cluster.slurm.backend import Slurm
from relusweep.cluster.slurm.queue import Queue
from relusweep.cluster.slurm.submission import Submission
from relusweep.sweep.probe import Cost
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.store import Store
from tests.cluster.slurm.cluster import Cluster, room_for
from tests.conftest import FLIPS


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A cluster with a machine file of these keys, where each run takes so many seconds."""

    def make(seconds=1.0, **machine):
        monkeypatch.setattr("relusweep.cluster.cost.probe", lambda runs, device: Cost(0.0, seconds))
        path = tmp_path / "machine.toml"
        path.write_text("\n".join(f"{key} = {value!r}" for key, value in ({"time": "4:00:00"} | machine).items()))
        return Slurm(None, path)

    return make


@pytest.fixture
def an_hour(tmp_path):
    """A machine file of jobs of an hour, and nothing else."""
    path = tmp_path / "machine.toml"
    path.write_text("time = '60'")
    return path


SMALL = Run(problem="sine", lr=0.1, width=4, n=8)


@pytest.mark.parametrize(
    ("seconds", "machine", "missing", "size"),
    [
        (0.001, {}, 1_000_000, 3907),  # four for each of 64 workers
        (0.001, {"max_array_tasks": 1}, 1_000_000, 4096),  # the largest pack
        (1.0, {"max_array_tasks": 1}, 1_000_000, 600),  # ten minutes
        (1.0, {"max_array_tasks": 1, "time": "5", "signal_seconds": 60}, 1_000_000, 144),  # what five minutes leave
        (3600.0, {}, 1_000_000, 1),
        (1.0, {}, 500, 32),  # few, but a tile
        (0.001, {"max_array_tasks": 100, "cpus_per_task": 8}, 1_000_000, 313),  # 800 workers
        (0.001, {"max_array_tasks": 1, "mem": "100M"}, 1_000_000, 2622),  # half of it
    ],
)
def test_packs_keep_all_workers_busy_last_no_longer_than_a_task_and_fit_the_memory(
    place, seconds, machine, missing, size
):
    assert place(seconds, **machine).pack_size(SMALL, Measure(), missing) == pytest.approx(
        size, rel=0.2 * ("mem" in machine)
    )


def test_run_that_fits_no_job_is_refused_without_probing(place, monkeypatch):
    huge = Run(problem="sine", lr=0.1, width=2**20, d=1000)
    slurm = place(mem="1G")
    monkeypatch.setattr("relusweep.cluster.cost.probe", lambda runs, device: pytest.fail("probed"))
    with pytest.raises(
        BackendError, match=r"width = 1048576 takes .* GiB; expected at most 0\.5 GiB a worker\. Raise mem"
    ):
        slurm.pack_size(huge, Measure(), 1)
    assert slurm.pack_size(SMALL, Measure(), 1) == 1


def test_option_that_is_missing_or_of_no_use_is_one_line(cli, tiny, tmp_path, an_hour):
    for arguments, message in {
        (
            "--on",
            "slurm",
        ): "BackendError: --on slurm: no machine file; expected --machine FILE. Copy slurm/example.toml.\n",
        (
            "--on",
            "slurm",
            "--machine",
            an_hour,
            "--workers",
            2,
        ): "BackendError: --workers 2: the machine file says what a job has; leave it out.\n",
        (
            "--machine",
            an_hour,
        ): f"BackendError: --machine {an_hour}: local trains on this machine; expected --on slurm with it.\n",
        ("--detach",): "MisuseError: --detach: --on local submits no jobs; expected --on slurm.\n",
        ("--report",): "MisuseError: --report: --on local submits no jobs; expected --on slurm.\n",
    }.items():
        said = cli("run", tiny(), "--out", tmp_path / "store", *arguments)
        assert (said.code, said.err) == (2, message)
    assert not (tmp_path / "store").exists()


def test_machine_without_sbatch_is_one_line(cli, tiny, tmp_path, monkeypatch, an_hour):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = cli("run", tiny(), "--on", "slurm", "--machine", an_hour, "--out", tmp_path / "store")
    assert said.code == 2
    assert said.err == "BackendError: sbatch: not found on this machine; expected SLURM. Use a login node.\n"


def test_variables_that_ask_sbatch_for_something_are_named_and_set_aside(
    cli, tiny, tmp_path, monkeypatch, an_hour, submitting
):
    arguments = submitting(tiny(), tmp_path / "store")
    monkeypatch.setenv("SBATCH_RESERVATION", "course")
    monkeypatch.setenv("SLURM_CLUSTERS", "another")
    said = cli("run", *arguments)
    (machine,) = [each for each in arguments if str(each).endswith("machine.toml")]
    line = f"SBATCH_RESERVATION, SLURM_CLUSTERS: not passed on; what jobs ask for stands in {machine}.\n"
    assert said.code == 0
    assert line in said.out


def test_store_whose_path_slurm_would_read_in_its_own_way_is_refused(cli, tiny, tmp_path, monkeypatch, an_hour):
    (tmp_path / "sbatch").touch(mode=0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    said = cli("run", tiny(), "--on", "slurm", "--machine", an_hour, "--out", tmp_path / "100%j")
    assert said.code == 2
    assert "100%j: SLURM reads '%' in a path in its own way; expected none. Choose another --out." in said.err


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
    workers = 1 if "gpus_per_job" in room_for(1) else 4  # a job's; a node has room for one job
    arguments = submitting(spec, store, seconds=160 / workers, cpus_per_task=4)

    def is_done() -> bool:
        if len(Store(store).parts()) > 1:
            compact(Store(store))
        return len(Store(store).recorded()) == 500

    meanwhile(lambda: until(is_done))
    said = cli("run", *arguments, "--report")
    assert (said.code, said.err) == (0, "")
    assert f"{store}: submitted 3 array task(s) with 16 pack(s), job " in said.out
    assert f"{store}: all 500 runs are recorded. Next: relusweep report '{store}'" in said.out
    (submission,) = submissions(store)
    assert {submission.history(number)["node"] for number in range(3)} == {"node1", "node2", "node3"}
    assert submission.ended == "all of its array tasks have ended"
    assert {path.stat().st_mode & 0o777 for path in (store / "jobs", submission.path)} == {0o700}
    verified(store)

    assert cli("run", spec, "--out", tmp_path / "here", "--workers", 1).code == 0
    equal_tables(store, tmp_path / "here")
    until((store / "report" / "index.html").exists)
    assert set(Store(store).read("runs", ["backend"])[0]["backend"].to_pylist()) == {"slurm"}


@pytest.mark.parametrize("slurm", [{"array_size": 2}], indirect=True)
def test_tasks_beyond_the_largest_array_go_into_more_arrays(
    slurm: Cluster,
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Queue, "cancel_pending", lambda *_: None)
    spec, store = tiny(grid="lr = [0.1], seed = { range = [0, 96] }"), tmp_path / "store"
    said = cli("run", *submitting(spec, store, seconds=32, max_array_tasks=1))
    assert (said.code, said.err) == (0, "")
    (submission,) = submissions(store)
    assert [len(array) for array in submission.arrays] == [2, 1]
    assert len(set(submission.jobs)) == 2
    starts = sorted(submission.history(number)["time"] for number in range(3))
    ends = sorted(submission.ending(number)["time"] for number in range(3))
    assert starts[1] > ends[0], "the second array waits for the first"
    assert starts[2] > ends[1], "and its tasks for each other"
    verified(store)


def test_tasks_that_wait_though_all_runs_are_recorded_by_now_are_cancelled(
    slurm: Cluster,
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., Any],
    meanwhile: Any,
    submissions: Callable[[Path], list[Submission]],
) -> None:
    spec, store, elsewhere = tiny(), tmp_path / "store", tmp_path / "elsewhere"
    assert cli("run", spec, "--out", elsewhere, "--workers", 1).code == 0
    urgent = ["--output=/dev/null", "-p", "main", "--exclusive"]
    full = [slurm.sbatch("sleep 600", *urgent, f"--nodelist={node}") for node in slurm.nodes]

    def record() -> None:
        until(lambda: any((store / "jobs").glob("*/jobs.json")))
        shutil.copytree(elsewhere / "runs", store / "runs", dirs_exist_ok=True)

    meanwhile(record)
    said = cli("run", *submitting(spec, store))
    assert (said.code, said.err) == (0, "")
    (submission,) = submissions(store)
    assert [slurm.jobs()[job] for job in submission.jobs] == ["CANCELLED"]
    assert (Store(store).failures(), submission.ended) == ([], "all of its array tasks have ended")
    slurm.run("scancel", *full)


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
    assert f"submitted 1 array task(s) with 1 pack(s), job {job}." in said.out
    assert f"jobs are to train 4 runs. Next: relusweep watch {store}, or cancel {store}" in said.out
    until(lambda: any((store / "progress").glob("[!.]*.json")))
    standing = cli("status", store)
    assert standing.code == 0
    report = json.loads((submissions(store)[0].path / "jobs.json").read_text())["report"]
    assert f"SLURM job {report} writes the report after the others: pending (Dependency)\n" in standing.out
    assert f"SLURM job(s) {job}: 1 of 1 task(s) left, 1 running" in standing.out
    assert re.search(rf"^  {job} on node1: \d s since its last progress$", standing.out, flags=re.M)
    watched = cli("watch", store)
    assert watched.code == 0
    assert f"SLURM job(s) {job}: 1 of 1 task(s) left, 1 running\n" in watched.out
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
        assert ": submitted " in said.out
        assert said.out.endswith(
            f"{store}: [refine] may ask for more when they are recorded: then the same command again.\n"
        )
        until(lambda recorded=recorded: len(Store(store).recorded()) == recorded)
    assert cli(*command).out.endswith(f"{store}: all 6 runs are recorded. Next: relusweep report {store}\n")
    assert len(submissions(store)) == 2
    assert rows_on_disk(store)["runs"] == 6


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
    assert rows["jobs"] == "1 array(s) of 4 task(s), each 58 s to 1 min 4 s at most"
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
