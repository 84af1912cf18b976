"""What clusters do to jobs: the sweep goes on where it was, and the table is that of an undisturbed one."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from relusweep.cluster.jobs.restarts import steps_taken
from relusweep.cluster.slurm.submission import Submission, open_submissions
from relusweep.sweep.store.store import Store
from tests.cluster.conftest import from_a_shell
from tests.cluster.slurm.cluster import Cluster

LONG: dict[str, Any] = {"max_steps": 5_000_000, "tolerance": 0.0}
FAR_ENOUGH = 200_000


@pytest.fixture(scope="module", autouse=True)
def of_two_minutes(
    slurm: Cluster, tiny_text: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Cluster]]:
    """Submit a run with a real time limit to a cluster of its own; it is trained beside the tests of this file.

    SLURM is free to tell the job of its limit after 1 s, and does so between 31 s and 61 s. Till then its process
    stands still, as on a bad node, and takes no time from the tests.
    """
    folder = tmp_path_factory.mktemp("limit")
    store, spec, machine = folder / "store", folder / "spec.toml", folder / "machine.toml"
    spec.write_text(tiny_text(grid="lr = [0.1]", **LONG | {"max_steps": 4_000_000}))
    machine.write_text("time = '2'\nsignal_seconds = 59")
    command = [sys.executable, "-m", "relusweep", "run", spec, "--on", "slurm", "--machine", machine, "--out", store]
    with Cluster(nodes=1) as cluster:
        subprocess.run([*command, "--detach", "--checkpoint-minutes", "0"], env=cluster.environment, check=True)
        threading.Thread(target=_stand_still_until_asked_to_stop, args=(store,), daemon=True).start()
        yield store, cluster


def _stand_still_until_asked_to_stop(store: Path) -> None:
    job = _far_enough(store)
    job.suspend()
    status, usr2 = Path(f"/proc/{job.pid}/status"), 1 << (signal.SIGUSR2 - 1)
    with contextlib.suppress(OSError, psutil.NoSuchProcess):  # SLURM may have it go on by itself
        while job.status() == psutil.STATUS_STOPPED:
            if int(status.read_text().split("ShdPnd:")[1].split()[0], 16) & usr2:
                job.resume()
            time.sleep(0.1)


def _far_enough(store: Path) -> psutil.Process:
    """Wait until a task has trained for a while; returns its process."""
    while not (said := [each for each in Store(store).progress() if each["step"] > FAR_ENOUGH]):
        time.sleep(0.01)
    return psutil.Process(int(said[0]["worker"].split("-")[-1]))


BLOCKED = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})"
TWO_PACKS = """\
name = "killed"
fixed = { problem = "sine", n = 8, d = 2, width = 4, tolerance = 0.0 }
block = [
  { fixed = { max_steps = 200 }, grid = { lr = [0.1], seed = [0, 1] } },
  { fixed = { max_steps = 4_000_000 }, grid = { lr = [0.1] } },
]
"""


@pytest.fixture(scope="module", autouse=True)
def at_its_limit(
    of_two_minutes: tuple[Path, Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
    """Launch a sweep whose task gets no signal, and have its time run out when it has recorded one of its packs.

    SLURM sees that within half a minute, beside the tests of this file. Till then, and till it is killed, the process
    stands still, and takes no time from them.
    """
    _, cluster = of_two_minutes
    folder = tmp_path_factory.mktemp("killed")
    store, spec, machine, blocked = (folder / name for name in ("store", "spec.toml", "machine.toml", "blocked"))
    spec.write_text(TWO_PACKS)
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(BLOCKED)
    path = ":".join([str(blocked), *filter(None, [os.environ.get("PYTHONPATH")])])
    machine.write_text(f"time = '60'\nenvironment.PYTHONPATH = '{path}'")
    arguments = ["run", spec, "--on", "slurm", "--machine", machine, "--out", store, "--checkpoint-minutes", "0"]

    def run_out_of_time() -> None:
        job = _far_enough(store)
        (blocked / "sitecustomize.py").write_text("")  # the next one gets signals again
        (submission,) = open_submissions(Store(store))
        cluster.run("scontrol", "update", f"jobid={submission.jobs[0]}", "endtime=now")
        with contextlib.suppress(psutil.NoSuchProcess):
            while True:
                job.suspend()
                time.sleep(0.01)

    with from_a_shell(*arguments, env=cluster.environment) as launcher:
        threading.Thread(target=run_out_of_time, daemon=True).start()
        yield store, launcher
        launcher.kill()


@pytest.fixture
def training(
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., Any],
) -> Callable[..., Path]:
    """Submit a sweep of one task that trains for some seconds, and wait until it does; returns the store."""

    def submit(**machine: Any) -> Path:
        store = tmp_path / "store"
        said = cli("run", *submitting(tiny(**LONG), store, **machine), "--detach", "--checkpoint-minutes", 0)
        assert (said.code, said.err) == (0, "")
        until(lambda: any(each["step"] > FAR_ENOUGH for each in Store(store).progress()))
        return store

    return submit


@pytest.fixture
def goes_on(until: Callable[..., Any], submissions: Callable[..., Any], verified: Callable[..., None]) -> Any:
    """Assert that a sweep ends without a launcher, that its task started again, from its state.

    It started twice; or more often, where a slow machine may meet its time limit again.
    """

    def check(store: Path, at_least: float = FAR_ENOUGH / 2, more: bool = False) -> int:
        (submission,) = submissions(store)
        until(lambda: len(submission.ended_tasks()) == 1, seconds=150)
        history = submission.history(0)
        assert history["starts"] >= 2 if more else history["starts"] == 2
        assert history["standing"][1] >= at_least  # steps in the state that it found
        verified(store)
        return int(history["starts"])

    return check


@pytest.mark.parametrize("partition", ["main", "grace"])
def test_pre_empted_task_comes_back(
    partition: str, slurm: Cluster, training: Callable[..., Path], until: Callable[..., Any], goes_on: Any
) -> None:
    store = training(partition=partition)
    urgent = [
        slurm.sbatch("sleep 1", "--output=/dev/null", "-p", "high", "--exclusive", f"--nodelist={node}")
        for node in slurm.nodes
    ]
    until(lambda: all(slurm.jobs()[job] == "COMPLETED" for job in urgent))
    goes_on(store)


def test_task_that_gets_the_signal_before_its_time_limit_asks_to_be_queued_again(
    slurm: Cluster, training: Callable[..., Path], submissions: Callable[[Path], list[Submission]], goes_on: Any
) -> None:
    store = training()
    for name in ("TERM", "USR2"):  # --signal=USR2@30 has one sent; who pre-empts may send both
        slurm.run("scancel", f"--signal={name}", *submissions(store)[0].jobs)
    goes_on(store)
    assert "Queued again." in next(submissions(store)[0].path.glob("logs/*.out")).read_text()


def test_requeued_task_goes_on(
    slurm: Cluster, training: Callable[..., Path], submissions: Callable[[Path], list[Submission]], goes_on: Any
) -> None:
    store = training()
    slurm.run("scontrol", "requeue", *submissions(store)[0].jobs)
    goes_on(store)


def test_task_of_a_killed_node_goes_on_elsewhere(
    slurm: Cluster, training: Callable[..., Path], submissions: Callable[[Path], list[Submission]], goes_on: Any
) -> None:
    store = training()
    (submission,) = submissions(store)
    node = submission.history(0)["node"]
    slurm.kill_node(node)
    left = Store(store).checkpoints()  # of whatever moment: no process was asked for another
    steps = steps_taken(Store(store), [path.stem for path in left])
    assert steps > 0
    goes_on(store, steps)
    assert submission.history(0)["node"] != node


def test_task_that_a_person_cancelled_is_listed_and_trained_by_the_next_run(
    slurm: Cluster,
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    meanwhile: Any,
    until: Callable[..., Any],
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
) -> None:
    store, arguments = tmp_path / "store", submitting(tiny(**LONG), tmp_path / "store")

    def scancel() -> None:
        until(lambda: Store(store).progress())
        slurm.run("scancel", *submissions(store)[0].jobs)

    meanwhile(scancel)
    said = cli("run", *arguments)
    assert said.code == 1
    assert "of 4 runs failed: its job" in said.err
    assert "ended as CANCELLED. See" in said.err
    assert len(Store(store).failures()) == 1
    assert cli("run", *arguments).code == 0
    assert len(submissions(store)) == 2
    verified(store)


def test_task_whose_process_is_killed_is_noticed_without_accounting_and_submitted_again(
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    meanwhile: Any,
    until: Callable[..., Any],
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
) -> None:
    store, arguments = tmp_path / "store", submitting(tiny(**LONG), tmp_path / "store")

    def kill() -> None:
        (said,) = until(lambda: [each for each in Store(store).progress() if each["step"] > FAR_ENOUGH])
        psutil.Process(int(said["worker"].split("-")[-1])).send_signal(signal.SIGKILL)

    meanwhile(kill)
    said = cli("run", *arguments, "--checkpoint-minutes", 0)
    assert (said.code, said.err) == (0, "")
    first, second = submissions(store)
    assert first.ended_tasks() == set()
    assert second.ended_tasks() == {0}
    verified(store)


def test_task_goes_on_after_its_time_limit(of_two_minutes: tuple[Path, Cluster], goes_on: Any) -> None:
    store, cluster = of_two_minutes
    starts = goes_on(store, more=True)
    (log,) = store.glob("jobs/*/logs/*.out")
    assert "Queued again." in log.read_text()
    lasted = cluster.run("scontrol", "show", "job", "1")
    assert "TimeLimit=00:02:00" in lasted
    assert f"Restarts={starts - 1}" in lasted


def test_task_that_its_time_limit_kills_loses_no_more_than_came_after_its_last_state(
    at_its_limit: tuple[Path, "subprocess.Popen[str]"],
    of_two_minutes: tuple[Path, Cluster],
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
) -> None:
    store, launcher = at_its_limit
    _, err = launcher.communicate(timeout=90)
    assert (launcher.returncode, err) == (0, "")
    first, second = submissions(store)
    assert "JobState=TIMEOUT" in of_two_minutes[1].run("scontrol", "show", "job", *first.jobs)
    assert first.ended_tasks() == set()
    assert "written" not in next(first.path.glob("logs/*.out")).read_text(), "it was not left the time to"
    assert [bundle.runs for bundle in first.bundles] == [2, 1]
    assert [bundle.runs for bundle in second.bundles] == [1], "what was recorded is not trained again"
    assert second.history(0)["standing"][1] > FAR_ENOUGH / 2
    verified(store)
