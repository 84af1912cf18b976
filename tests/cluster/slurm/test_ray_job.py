"""A Ray cluster inside a job of SLURM: who gets in, what dies how, and that the table is that of one machine."""

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from relusweep.cluster.backend import BackendError
from relusweep.cluster.ray import job as ray_job
from relusweep.cluster.ray.job import Nodes
from relusweep.cluster.slurm.submission import Submission
from relusweep.sweep.checkpoint import load_checkpoint
from relusweep.sweep.store.store import Store
from tests.cluster.conftest import ROOT
from tests.cluster.slurm.cluster import Cluster

PACK_A_NODE = "lr = [0.05], seed = [0, 1], width = [3, 4, 5]"


LONG: dict[str, Any] = {"max_steps": 4_000_000, "tolerance": 0.0}


@pytest.fixture
def submit(slurm: Cluster, typed: Callable[..., Any]) -> Callable[..., str]:
    """Submit the script as slurm/README.md shows it, with the nodes of the tests; returns the job's id."""

    def sbatch(*given: object, options: tuple[str, ...] = (), nodes: int = 1) -> str:
        named = shlex.join(["sbatch", "--parsable", "--cpus-per-task=1", *options])
        replaced = {"sbatch --nodes": f"{named} --nodes"}
        if nodes == 1:
            place, shown = "one node of the cluster", " demo"
        else:
            place, shown = "several nodes", " demo --out results/demo"
            replaced["--gpus-per-node=4"] = f"--gpus-per-node={slurm.gpus}"
        out, err = typed(place, replaced | {shown: f" {shlex.join(map(str, given))}"}).communicate()
        assert not err
        return out.strip()

    return sbatch


@pytest.fixture
def log(tmp_path: Path) -> Callable[[str], str]:
    """Return what a job has printed so far."""

    def read(job: str) -> str:
        path = tmp_path / f"relusweep-ray-{job}.log"
        return path.read_text() if path.exists() else ""

    return read


def processes(job: str) -> list[psutil.Process]:
    """Return what runs for a job of the cluster of this test."""
    ours = {"SLURM_JOB_ID": job, "SLURM_CONF": os.environ["SLURM_CONF"]}
    found = []
    for process in psutil.process_iter():
        try:
            if ours.items() <= process.environ().items():
                found.append(process)
        except psutil.Error:
            continue
    return found


def given_to(process: psutil.Process) -> list[str]:
    """Return what a process was started with, if it still runs."""
    try:
        return [*process.cmdline(), *process.environ().values()]
    except psutil.Error:
        return []


def on_their_nodes(pids: list[int]) -> dict[str, psutil.Process]:
    """Return those of the processes that still run, by the node."""
    found = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return {each.environ()["SLURMD_NODENAME"]: each for each in found}


def exit_code(slurm: Cluster, job: str) -> str:
    return re.findall(r"ExitCode=(\d+):", slurm.run("scontrol", "show", "job", job))[0]


def test_sweep_on_three_nodes_loses_a_raylet_and_a_node_beside_another_cluster_and_gives_the_table_of_one_machine(
    slurm: Cluster, submit: Callable[..., str], training: Callable[[Path], list[int]], log: Callable[[str], str], tiny: Callable[..., Path], tmp_path: Path,
    launch: Callable[..., Any], until: Callable[..., Any], verified: Callable[[Path], None],
    equal_tables: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec, store = tiny(grid=PACK_A_NODE, **LONG), tmp_path / "store"
    other, taken = tiny("other"), tmp_path / "taken"
    taken.mkdir()
    (taken / "notes").touch()  # no store, so that nothing can be trained there
    job = submit(spec, "--out", store, "--checkpoint-minutes", 0, nodes=3)
    beside = submit(other, "--out", taken, options=("--nodelist=node1",))  # at the same time, on the same node
    found: Any = until(
        lambda: re.search(r"Ray on node1, node2, node3: RAY_ADDRESS=(\S+:\d+) RAY_AUTH_TOKEN_PATH=(\S+)\n", log(job)),
        seconds=120,
    )
    address, token = found[1], Path(found[2])
    with monkeypatch.context() as strange:
        strange.setenv("RAY_ADDRESS", address)
        strange.setenv("HOME", str(tmp_path))  # where no ~/.ray is
        stranger = launch("run", spec, "--on", "ray", "--out", tmp_path / "strange")

    # A node loses its raylet while its worker trains
    node, worker = until(
        lambda: next(
            ((node, worker) for node, worker in on_their_nodes(training(store)).items() if node != "node1"), None
        ),
        seconds=120,
    )
    raylet = worker.parent()
    assert raylet is not None
    assert raylet.name() == "raylet"
    ours = {each: given_to(each) for each in processes(job)}
    assert len(ours) > 20
    raylet.kill()

    # Who has the token, and who has not
    secret = token.read_text()
    assert (len(secret), token.stat().st_mode & 0o777) == (64, 0o600)
    assert not [word for words in ours.values() for word in words if secret in word]
    said = log(job)
    assert secret not in said
    tunnel = re.search(r"Ray dashboard: http://localhost:(\d+) after `ssh -N -L \1:(\S+:\1) .+`\. It asks for", said)
    assert tunnel, said
    page = urllib.request.Request(f"http://{tunnel[2]}/api/v0/nodes")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(page)
    page.add_header("Authorization", f"Bearer {secret}")
    with urllib.request.urlopen(page) as answer:
        nodes = json.load(answer)["data"]["result"]["result"]
    assert sorted(each["node_name"] for each in nodes) == slurm.nodes
    _, err = stranger.communicate()
    assert (stranger.returncode, err) == (
        2, f"BackendError: RAY_ADDRESS={address}: the cluster asks for its token, got none; expected "
        "RAY_AUTH_TOKEN_PATH=FILE with it.\n"
    )  # fmt: skip

    # Another node loses its power
    (gone,) = set(slurm.nodes) - {"node1", node}
    slurm.kill_node(gone)

    # The other sweep cannot be trained: its exit code is that of its job
    until(lambda: slurm.jobs()[beside] == "FAILED", seconds=120)
    assert exit_code(slurm, beside) == "2"
    assert f"StoreError: {taken}: a directory with other files in it" in log(beside)

    until(lambda: slurm.jobs()[job] == "COMPLETED", seconds=240)
    assert f"{node}: Ray has died there, and is started again: raylet [exit code=-9" in log(job)
    assert f"srun: error: Node failure on {gone}" in log(job)
    assert f"{store}: all 6 runs are recorded." in log(job)
    assert exit_code(slurm, job) == "0"
    verified(store)
    assert not list((store / "jobs").iterdir())
    assert launch("run", spec, "--out", tmp_path / "here", "--workers", 2).wait() == 0
    equal_tables(store, tmp_path / "here")
    assert not token.exists()
    until(lambda: not processes(job))


def test_sweep_goes_from_slurm_to_ray_is_queued_again_twice_and_ends_under_slurm(
    slurm: Cluster, submit: Callable[..., str], submitting: Callable[..., list[object]], log: Callable[[str], str],
    tiny: Callable[..., Path], tmp_path: Path, cli: Callable[..., Any], until: Callable[..., Any],
    verified: Callable[[Path], None], submissions: Callable[[Path], list[Submission]],
) -> None:  # fmt: skip
    spec, store = tiny(**LONG | {"max_steps": 6_000_000}), tmp_path / "store"

    def steps() -> list[int]:
        return [saved["training"]["step"] for path in Store(store).checkpoints() if (saved := load_checkpoint(path))]

    def trains_beyond(step: int) -> bool:
        return any(each["step"] > step for each in Store(store).progress())

    said = cli("run", *submitting(spec, store), "--detach")
    assert (said.code, said.err) == (0, "")
    until(lambda: trains_beyond(100_000))
    node = submissions(store)[0].history(0)["node"]
    cli("cancel", store)
    (by_slurm,) = until(lambda: slurm.states()[node] == "idle" and steps())

    job = submit(spec, "--out", store)
    until(lambda: trains_beyond(by_slurm), seconds=120)
    slurm.run("scancel", "--signal=TERM", job)  # as where a partition grants time: only what srun started gets it
    until(lambda: slurm.jobs()[job] == "PENDING")
    (by_ray,) = steps()
    assert by_ray > by_slurm
    assert log(job).count("Queued again.") == 1, log(job)

    until(lambda: trains_beyond(by_ray), seconds=120)
    slurm.run("scancel", "--signal=USR1", "--batch", job)  # as --signal=B:USR1@120 has it sent
    until(lambda: slurm.jobs()[job] == "PENDING")
    slurm.run("scancel", job)
    assert log(job).count("Queued again.") == 2
    (again,) = steps()
    assert again > by_ray
    assert not processes(job)
    starts = json.loads((tmp_path / f"relusweep-ray-{job}.json").read_text())
    assert (starts["idle"], starts["unready"]) == (1, 0)  # the second got further than the first
    assert starts["standing"][1] >= by_ray

    said = cli("run", *submitting(spec, store))
    assert (said.code, said.err) == (0, "")
    verified(store)


def test_job_whose_starts_got_nowhere_ends_and_is_not_queued_again(
    slurm: Cluster, submit: Callable[..., str], log: Callable[[str], str], tiny: Callable[..., Path], tmp_path: Path,
    until: Callable[..., Any],
) -> None:  # fmt: skip
    job = submit(tiny(), "--out", "store", options=("--hold",))
    earlier = tmp_path / f"relusweep-ray-{job}.json"
    earlier.write_text(json.dumps({"unready": 0, "idle": 3, "standing": [0, 0.0]}))
    slurm.run("scontrol", "release", job)
    until(lambda: slurm.jobs()[job] == "FAILED")
    assert exit_code(slurm, job) == "1"
    said = (
        f"BackendError: job {job} was started 3 times in a row without getting store any further; expected a recorded"
    )
    assert log(job).startswith(said)
    assert not processes(job)
    assert not list(tmp_path.glob("relusweep-ray-*.[jt]*"))
    assert not (tmp_path / "store").exists()


def test_nodes_that_do_not_come_are_named_when_the_time_is_up(
    slurm: Cluster, tiny: Callable[..., Path], tmp_path: Path, until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    hasty = (
        f"import sys; from relusweep.cluster.ray import job; job.READY_SECONDS = 1; sys.exit(job.main(['{tiny()}']))"
    )
    script = f'PYTHONPATH={ROOT} exec {sys.executable} -c "{hasty}"'
    job = slurm.sbatch(script, "--nodes=2", f"--output={tmp_path}/log", f"--chdir={tmp_path}")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[1-3]")
    monkeypatch.setattr(ray_job, "READY_SECONDS", 0.1)
    some = Nodes(print, lambda: None)
    some.up = {"node1": "10.0.0.1", "node3": "10.0.0.3"}
    with subprocess.Popen(["sleep", "60"]) as some.step:
        with pytest.raises(
            BackendError,
            match=r"^node2: no Ray within 0\.1 s; expected it on all 3 nodes of the job\. Leave it out: sbatch --exclude=node2$",
        ):
            some.wait(lambda: False)
        some.step.kill()
    until(lambda: slurm.jobs()[job] == "FAILED")
    assert exit_code(slurm, job) == "1"
    (line,) = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("BackendError")]
    assert line == (
        "BackendError: node1, node2: no Ray within 1 s; expected it on all 2 nodes of the job. Leave them out: "
        "sbatch --exclude=node1,node2"
    )
    assert not processes(job)
    assert not list(tmp_path.glob("*.token"))


@pytest.mark.slow
def test_what_cannot_be_swept_is_refused_before_any_node_starts(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "relusweep.cluster.ray.start", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert said("demo") == (
        1, "BackendError: no SLURM_JOB_ID: got no job of SLURM; expected one. sbatch slurm/ray_cluster.sbatch SPEC\n"
    )  # fmt: skip
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    for given in ((), ("--out", "here")):
        shown = " ".join(given) or "nothing"
        assert said(*given) == (
            1, f"BackendError: got {shown}; expected SPEC first, then options of relusweep run.\n"
        )  # fmt: skip
    code, err = said(str(tmp_path / "none.toml"))
    assert code == 2
    assert re.match(r"SpecError: .*none\.toml", err), err
