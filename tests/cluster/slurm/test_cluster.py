"""Cluster: the test cluster does what tests of the back-end rely on, and what real ones do to jobs."""

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from relusweep.cluster.slurm.scheduler import largest_array
from tests.cluster.slurm.cluster import KILL_WAIT, Cluster

ROOT = Path(__file__).parents[3]


@pytest.fixture
def said(tmp_path):
    """What jobs have written into a file so far, as lines."""

    def read(name: str) -> list[str]:
        path = tmp_path / name
        return path.read_text().splitlines() if path.exists() else []

    return read


@pytest.fixture
def submit(slurm, tmp_path):
    """Submit shell lines that work in the test's folder."""

    def call(script: str, *options: str) -> str:
        return slurm.sbatch(script, f"--chdir={tmp_path}", *options)

    return call


def alive(folder: Path) -> list[str]:
    """Processes of a cluster, by the folder that their command line or environment names."""
    found = []
    for process in psutil.process_iter():
        try:
            known = [*process.cmdline(), *process.environ().values()]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in word for word in known):
                found.append(process.name())
        except psutil.Error:
            continue
    return found


def test_nodes_are_idle_and_have_gpus(slurm):
    assert slurm.states() == {"node1": "idle", "node2": "idle", "node3": "idle"}
    assert slurm.run("sinfo", "-h", "-p", "main", "-o", "%D %G") == "3 gpu:2"


def test_tasks_of_an_array_have_each_a_gpu_of_their_own(submit, said, until):
    all_six = 'until [ "$(wc -l < gpus)" = 6 ]; do sleep 0.1; done'
    submit(f'echo "$SLURMD_NODENAME $CUDA_VISIBLE_DEVICES" >> gpus\n{all_six}', "--array=0-5", "--gres=gpu:1")
    until(lambda: len(said("gpus")) == 6)
    assert sorted(said("gpus")) == [f"node{node} {gpu}" for node in (1, 2, 3) for gpu in (0, 1)]


def test_step_has_a_task_a_gpu_and_sees_them_all(submit, said, until):
    submit(
        "srun bash -c 'echo $SLURM_PROCID $CUDA_VISIBLE_DEVICES >> ranks'", "--ntasks-per-node=2", "--gpus-per-node=2"
    )
    until(lambda: len(said("ranks")) == 2)
    assert sorted(said("ranks")) == ["0 0,1", "1 0,1"]


def test_job_without_gpus_is_given_none(submit, said, until):
    submit("echo ${CUDA_VISIBLE_DEVICES-none} >> gpus")
    assert until(lambda: said("gpus")) == ["none"]


def test_throttled_array_runs_so_many_tasks_at_a_time(slurm, submit, until):
    job = submit("sleep 60", "--array=0-4%2")
    until(lambda: [*slurm.jobs().values()].count("RUNNING") == 2)
    assert {name: state for name, state in slurm.jobs().items() if name.startswith(f"{job}_")} == {
        f"{job}_{index}": "RUNNING" if index < 2 else "PENDING" for index in range(5)
    }


def test_requeued_job_starts_again_and_knows_that_it_does(slurm, submit, said, until):
    job = submit("echo ${SLURM_RESTART_COUNT:-0} >> starts; sleep 60")
    until(lambda: said("starts"))
    slurm.run("scontrol", "requeue", job)
    until(lambda: len(said("starts")) == 2)
    assert said("starts") == ["0", "1"]


def test_cancelled_job_gets_its_signal_and_does_not_return(slurm, submit, said, until):
    job = submit("trap 'echo TERM >> signals' TERM; echo begun >> signals; sleep 60 & wait; sleep 60")
    until(lambda: said("signals"))
    slurm.run("scancel", "--full", "--signal=TERM", job)
    until(lambda: said("signals") == ["begun", "TERM"])
    slurm.run("scancel", job)
    until(lambda: slurm.jobs()[job] == "CANCELLED")


def test_job_of_a_killed_node_dies_with_it_and_runs_elsewhere(slurm, submit, said, until):
    job = submit("echo $SLURMD_NODENAME $$ >> nodes; sleep 60")
    until(lambda: said("nodes"))
    node, pid = said("nodes")[0].split()
    slurm.kill_node(node)
    until(lambda: not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE)
    assert slurm.states()[node].startswith("down")
    until(lambda: len(said("nodes")) == 2)
    assert slurm.running_on(job) == said("nodes")[1].split()[0] != node
    slurm.restart_node(node)
    until(lambda: slurm.states()[node] == "idle")


def test_urgent_job_has_others_told_at_once_and_requeued(submit, said, until, tmp_path):
    (tmp_path / "work").write_text(
        f"told() {{ trap '' TERM; echo told >> $1; sleep {KILL_WAIT + 1}; echo written >> $1; trap - TERM; exec sleep 60; }}\n"
        'trap "told $1" TERM\necho "start ${SLURM_RESTART_COUNT:-0}" >> $1\nsleep 60 & wait\n'
    )
    # Without GraceTime the script does the work itself: an srun that has to end kills its step at once, and whether
    # the step hears of SIGTERM before is a matter of milliseconds.
    for node, partition, runner in (("node1", "main", "exec"), ("node2", "grace", "srun")):
        submit(f"{runner} bash work {node}", f"--partition={partition}", "--exclusive", f"--nodelist={node}")
    until(lambda: said("node1") and said("node2"))
    for node in ("node1", "node2"):
        submit("true", "--partition=high", "--exclusive", f"--nodelist={node}")
    until(lambda: said("node1")[-1] == said("node2")[-1] == "start 1")
    assert said("node1") == ["start 0", "told", "start 1"]
    assert said("node2") == [
        "start 0",
        "told",
        "written",
        "start 1",
    ]  # its partition's GraceTime is longer than KILL_WAIT


@pytest.mark.parametrize(
    "slurm", [{"nodes": 1, "gpus": 0, "array_size": 5}, {"nodes": 1, "array_tasks": 5}], indirect=True
)
def test_array_above_the_largest_is_refused(slurm):
    assert largest_array() == 5
    slurm.sbatch("true", "--array=0-4")
    with pytest.raises(AssertionError, match="Invalid job array specification"):
        slurm.sbatch("true", "--array=0-5")


def test_unknown_partition_is_refused(slurm):
    with pytest.raises(AssertionError, match="invalid partition specified: nowhere"):
        slurm.sbatch("true", "--partition=nowhere")


def test_stopped_cluster_leaves_no_process_and_no_file(until):
    with Cluster(nodes=1) as cluster:
        cluster.sbatch("setsid sleep 60 & sleep 60")
        until(lambda: alive(cluster.folder).count("sleep") == 2)
    until(lambda: not alive(cluster.folder))
    assert not cluster.folder.exists()


@pytest.mark.slow
def test_daemons_die_with_the_tests(until):
    code = "from tests.cluster.slurm.cluster import Cluster\nwith Cluster(nodes=1) as c: print(c.folder, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None
        folder = Path(tests.stdout.readline().strip())
        assert {"munged", "slurmctld", "slurmd"} <= set(alive(folder))
        tests.kill()
    until(lambda: not alive(folder))
    shutil.rmtree(folder)
