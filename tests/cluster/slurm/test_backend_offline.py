"""SLURM without a cluster: what is asked for, how packs are sized, and what becomes of packs whose job died."""

import time

import pytest

from relusweep.cluster.backend import ATTEMPTS, BackendError, Job
from relusweep.cluster.slurm.backend import Slurm, _Retries
from relusweep.cluster.slurm.machine import Machine
from relusweep.cluster.slurm.sbatch import script
from relusweep.cluster.slurm.submission import Draft, Element
from relusweep.sweep.pack import make_packs
from relusweep.sweep.probe import Cost
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure, Spec
from relusweep.sweep.store.store import Store


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A cluster with a machine file of these keys, where each run takes so many seconds."""

    def make(seconds=1.0, **machine):
        monkeypatch.setattr("relusweep.cluster.cost.probe", lambda runs, device: Cost(0.0, seconds))
        path = tmp_path / "machine.toml"
        path.write_text("\n".join(f"{key} = {value!r}" for key, value in ({"time": "4:00:00"} | machine).items()))
        return Slurm(None, path)

    return make


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
def test_packs_keep_all_workers_busy_last_no_longer_than_an_element_and_fit_the_memory(
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


def test_what_is_missing_or_in_vain_is_said(cli, tiny, tmp_path):
    path = tmp_path / "machine.toml"
    path.write_text("time = '60'")
    for arguments, message in {
        (
            "--on",
            "slurm",
        ): "BackendError: --on slurm: no machine file; expected --machine FILE. Copy slurm/example.toml.\n",
        ("--on", "slurm", "--machine", path, "--workers", 2): "BackendError: --workers 2: the machine file says what a "
        "job has; leave it out.\n",
        (
            "--machine",
            path,
        ): f"BackendError: --machine {path}: local trains on this machine; expected --on slurm with it.\n",
        ("--detach",): "MisuseError: --detach: --on local submits no jobs; expected --on slurm.\n",
        ("--report",): "MisuseError: --report: --on local submits no jobs; expected --on slurm.\n",
    }.items():
        said = cli("run", tiny(), "--out", tmp_path / "store", *arguments)
        assert (said.code, said.err) == (2, message)
    assert not (tmp_path / "store").exists()


def test_machine_without_sbatch_is_told_so(cli, tiny, tmp_path, monkeypatch):
    path = tmp_path / "machine.toml"
    path.write_text("time = '60'")
    monkeypatch.setenv("PATH", str(tmp_path))
    said = cli("run", tiny(), "--on", "slurm", "--machine", path, "--out", tmp_path / "store")
    assert said.code == 2
    assert said.err == "BackendError: sbatch: not found on this machine; expected SLURM. Use a login node.\n"


def test_store_whose_path_slurm_would_read_in_its_own_way_is_refused(cli, tiny, tmp_path, monkeypatch):
    path = tmp_path / "machine.toml"
    path.write_text("time = '60'")
    (tmp_path / "sbatch").touch(mode=0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    said = cli("run", tiny(), "--on", "slurm", "--machine", path, "--out", tmp_path / "100%j")
    assert said.code == 2
    assert "100%j: SLURM reads '%' in a path in its own way; expected none. Choose another --out." in said.err


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


@pytest.fixture
def dead(tiny, tmp_path):
    """A submission of one element with two packs of two runs, which began these packs and said no more."""
    store = Store.create(tmp_path / "store")

    def make(*begun):
        draft = Draft(store)
        draft.take((pack, 1.0) for pack in make_packs(Spec.read(tiny()).expand(), lambda run: 2))
        job = Job(store.path, Measure(), "slurm", 60.0)
        submission = draft.publish([Element((0, 1), 4, 1.0)], [range(1)], job, {"time": time.time(), "machine": {}})
        submission.write_account(0, {"begun": [submission.bundles[number].pack_id for number in begun]})
        submission.write_jobs(["12"])
        return submission

    return make


def test_pack_whose_job_dies_is_submitted_again_and_at_last_listed_but_not_its_mates(dead):
    submission = dead(0)
    first, second = submission.packs([0, 1])
    retries = _Retries(submission.store)
    for _ in range(ATTEMPTS - 1):
        assert list(retries.outcomes(submission, 0, "OUT_OF_MEMORY")) == []
        assert list(retries.take()) == [first, second]
    (outcome,) = retries.outcomes(submission, 0, "OUT_OF_MEMORY")
    assert (outcome.pack, outcome.kind) == (first, "failed")
    assert outcome.error.startswith("its job 12 ended as OUT_OF_MEMORY, 3 times without getting further. See ")
    assert list(retries.take()) == [second]
    (listed,) = submission.store.failures()
    assert (listed["pack_id"], listed["attempts"]) == (first.id, ATTEMPTS)


def test_element_that_never_began_a_pack_has_all_of_them_for_suspects(dead):
    submission = dead()
    retries = _Retries(submission.store)
    for _ in range(ATTEMPTS - 1):
        assert list(retries.outcomes(submission, 0, "FAILED")) == []
    assert [outcome.kind for outcome in retries.outcomes(submission, 0, "FAILED")] == ["failed", "failed"]


def test_recorded_runs_of_a_dead_element_are_not_submitted_again(dead):
    submission = dead(0, 1)
    first, second = submission.packs([0, 1])
    rows = [run.model_dump() | {"run_id": run.id, "status": "budget"} for run in (*first.runs, second.runs[0])]
    submission.store.write("some", {"runs": rows}, {})
    retries = _Retries(submission.store)
    (outcome,) = retries.outcomes(submission, 0, "TIMEOUT")
    assert (outcome.pack, outcome.kind) == (first, "recorded")
    assert [pack.runs for pack in retries.take()] == [(second.runs[1],)]


def test_pack_that_another_element_records_before_all_have_ended_is_not_submitted_again(dead):
    submission = dead(0, 1)
    first, second = submission.packs([0, 1])
    retries = _Retries(submission.store)
    assert list(retries.outcomes(submission, 0, "OUT_OF_MEMORY")) == []
    rows = [run.model_dump() | {"run_id": run.id, "status": "budget"} for run in first.runs]
    submission.store.write(first.id, {"runs": rows}, {})
    assert list(retries.take()) == [second]
