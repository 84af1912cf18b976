"""What happens to sweeps on a real Ray: they are killed, stopped, kept waiting, and end as they would locally."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from relusweep.cluster.backend import ATTEMPTS, Assignment, backend
from relusweep.sweep.checkpoint import load_checkpoint
from relusweep.sweep.pack import Pack
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store
from tests.cluster.ray.cluster import Cluster


def complete(store: Path, rows: int) -> bool:
    """Whether so many runs are recorded, each once, and nothing is left of the training."""
    opened = Store.open(store)
    left = [*opened.checkpoints(), *opened.failures(), *(store / "claims").iterdir(), *(store / "jobs").iterdir()]
    return len(opened.recorded()) == opened.read("runs", ["run_id"])[0].num_rows == rows and not left


def test_table_of_500_runs_equals_the_local_one_though_a_worker_is_killed(
    on_ray: Cluster, training: Callable[[Path], list[int]], launch: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path,
    until: Callable[..., Any], rows_on_disk: Callable[..., Any], equal_tables: Callable[[Path, Path], None],
) -> None:  # fmt: skip
    spec = tiny(
        grid="lr = { log = [0.01, 1.9, 25] }, seed = { range = [0, 20] }", measure="every = 'log:3'",
        max_steps=80_000, tolerance=0.0,
    )  # fmt: skip
    store, local = tmp_path / "ray", tmp_path / "local"
    swept = launch("run", spec, "--on", "ray", "--out", store, "--checkpoint-minutes", 0)
    os.kill(until(lambda: training(store))[0], signal.SIGKILL)
    out, err = swept.communicate()
    assert (swept.returncode, err) == (0, ""), out
    assert complete(store, 500)
    beside = launch("run", spec, "--workers", 1, "--out", local)
    assert beside.wait() == 0
    assert rows_on_disk(store) == rows_on_disk(local)
    equal_tables(store, local)
    assert set(Store.open(store).read("runs", ["backend"])[0]["backend"].to_pylist()) == {"ray"}


def test_killed_driver_leaves_no_ray_behind_and_the_same_command_goes_on(
    launch: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    short = Path("/tmp") / f"rt-{os.getpid()}"
    short.mkdir()
    monkeypatch.setenv("TMPDIR", str(short))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    spec, store = tiny(max_steps=2_000_000, tolerance=0.0), tmp_path / "store"
    command = ("run", spec, "--on", "ray", "--workers", 1, "--out", store, "--checkpoint-minutes", 0)
    killed = launch(*command)
    until(lambda: Store(store).checkpoints())
    below = psutil.Process(killed.pid).children(recursive=True)
    (folder,) = short.glob("relusweep-*")
    token = (folder / "token").read_text()
    assert (folder / "token").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(below) > 4
    assert not [each for each in below if any(token in argument for argument in each.cmdline())]
    mortal = [each for each in below if not each.name().endswith("Agent")]  # two of Ray's leave after a minute
    os.kill(killed.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(mortal, timeout=60)
    assert not alive
    assert not Store(store).recorded()

    os.utime(folder, (0, 0))
    swept = launch(*command)
    out, err = swept.communicate()
    assert (swept.returncode, err) == (0, ""), out
    assert "Ray dashboard: http://" in out
    assert complete(store, 4)
    assert not list(short.iterdir())
    short.rmdir()


def test_sweep_begun_locally_is_stopped_on_ray_by_a_signal_to_the_group_and_ends_locally(
    launch: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    spec, store = tiny(max_steps=10_000_000, tolerance=0.0), tmp_path / "store"
    reached = 0
    for place in ("local", "ray"):
        stopped = launch("run", spec, "--on", place, "--workers", 1, "--out", store)
        until(lambda: any(each["step"] > reached for each in Store(store).progress()))  # noqa: B023 - called at once
        os.killpg(stopped.pid, signal.SIGTERM)
        out, err = stopped.communicate()
        assert stopped.returncode == 130, out
        assert err == "relusweep: stopped; what was in training is kept. The same command goes on from there.\n"
        (state,) = Store(store).checkpoints()
        saved = load_checkpoint(state)
        assert saved is not None
        assert saved["training"]["step"] > reached
        reached = saved["training"]["step"]
    assert not list((store / "jobs").iterdir())
    swept = launch("run", spec, "--workers", 1, "--out", store)
    out, err = swept.communicate()
    assert (swept.returncode, err) == (0, ""), out
    assert complete(store, 4)
    assert set(Store.open(store).read("runs", ["backend"])[0]["backend"].to_pylist()) == {"local"}


def test_full_cluster_is_waited_for_with_a_message(
    ray_cluster: Cluster, typed: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    code = """
import ray, sys
ray.init(log_to_driver=False)
@ray.remote(num_cpus=2)
class Holder:
    def hold(self): return True
holder = Holder.remote()
print(ray.get(holder.hold.remote()), flush=True)
sys.stdin.read()
"""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    pipes["env"] = os.environ | ray_cluster.environment
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as holder:
        assert holder.stdout.readline() == "True\n"
        given = {"HOST:PORT": ray_cluster.address, "FILE": ray_cluster.token, " demo": f" {tiny()} --out store"}
        swept = typed("a Ray cluster that runs already", given)
        lines = iter(swept.stdout.readline, "")
        said = next(line for line in lines if "waiting" in line)
        assert said == f"RAY_ADDRESS={ray_cluster.address}: all 2 CPU(s) of the cluster are taken; waiting.\n"
        assert not Store(tmp_path / "store").recorded()
        holder.communicate()
    assert swept.wait() == 0
    assert complete(tmp_path / "store", 4)


def test_trial_reports_what_its_pack_has_come_to(
    on_ray: Cluster, tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, store, spec = (
        backend("ray", 1),
        Store.create(tmp_path / "store"),
        Spec.read(tiny(grid="lr = [0.1, 0.2, 1e6]")),
    )
    from relusweep.cluster.ray.driver import Driver

    reports, asked = [], Driver.on_trial_complete
    monkeypatch.setattr(
        Driver,
        "on_trial_complete",
        lambda self, **given: (reports.append(given["trial"].last_result), asked(self, **given)),
    )
    assignment = Assignment(store.path, spec.measure, "ray", 120.0)
    (outcome,) = place.train(assignment, iter([Pack(tuple(spec.expand()))]), lambda: None)
    assert outcome.kind == "recorded"
    rows, (report,) = store.read()[0].to_pylist(), reports
    assert {name: report[name] for name in ("runs", "ended", "converged", "budget", "diverged")} == {
        "runs": 3, "ended": 3, "converged": 0, "budget": 2, "diverged": 1
    }  # fmt: skip
    finite = [row for row in rows if row["status"] == "budget"]
    assert report["median_loss"] == pytest.approx(sum(row["loss"] for row in finite) / 2)
    assert report["max_eos_ratio"] == max(row["eos_ratio"] for row in finite)
    assert report["run_steps"] >= sum(row["steps"] for row in finite)
    assert report["run_steps_per_second"] > 0


def test_worker_that_cannot_start_says_why(
    on_ray: Cluster, tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, store, spec = backend("ray", 1), Store.create(tmp_path / "store"), Spec.read(tiny())
    from relusweep.cluster.ray.driver import Driver  # loads Ray, with the settings that the back-end made

    made = Driver.__init__

    def broken(self: Driver, *given: Any) -> None:
        made(self, *given)
        monkeypatch.setattr(self, "assignment", None)

    monkeypatch.setattr(Driver, "__init__", broken)
    names, asked = [], Driver._failed
    monkeypatch.setattr(Driver, "_failed", lambda self, trial: (names.append(str(trial)), asked(self, trial))[1])
    assignment = Assignment(store.path, spec.measure, "ray", 120.0)
    (outcome,) = place.train(assignment, iter([Pack(tuple(spec.expand()))]), lambda: None)
    assert (outcome.kind, len(outcome.pack.runs)) == ("failed", 4)
    assert outcome.error == "worker could not start: AttributeError: 'NoneType' object has no attribute 'store'"
    shape = "4 runs, problem sine, n = 8, d = 2, width 4, at most 400 steps"
    assert set(names) == {f"unnamed · {shape} · {outcome.pack.id}"}
    (listed,) = store.failures()
    assert (listed["attempts"], listed["error"]) == (ATTEMPTS, outcome.error)
    assert "cluster/worker.py" in listed["trace"]


def test_pack_whose_worker_is_killed_for_want_of_memory_is_trained_in_halves(
    on_ray: Cluster, training: Callable[[Path], list[int]], tiny: Callable[..., Path], tmp_path: Path, until: Callable[..., Any],
    meanwhile: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec = Spec.read(tiny(grid="lr = [0.05], seed = { range = [0, 5] }", max_steps=500_000, tolerance=0.0))
    place, store = backend("ray", 1), Store.create(tmp_path / "store")
    from relusweep.cluster.ray import parts  # loads no Ray, but its package has to be ready

    monkeypatch.setattr(parts, "_OF_MEMORY", re.compile("The actor died"))  # what Ray says of every kill
    meanwhile(lambda: os.kill(until(lambda: training(store.path))[0], signal.SIGKILL))
    assignment = Assignment(store.path, spec.measure, "ray", 120.0)
    (outcome,) = place.train(assignment, iter([Pack(tuple(spec.expand()))]), lambda: None)
    assert (outcome.kind, len(outcome.pack.runs)) == ("recorded", 5)
    assert sorted(store.read("runs", ["pack_size"])[0]["pack_size"].to_pylist()) == [2, 2, 3, 3, 3]
    assert not store.failures()


def test_pack_that_gets_further_each_time_is_not_given_up(
    on_ray: Cluster, training: Callable[[Path], list[int]], tiny: Callable[..., Path], tmp_path: Path, until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec = Spec.read(tiny(max_steps=100_000_000, tolerance=0.0))
    place, store = backend("ray", 1), Store.create(tmp_path / "store")
    from relusweep.cluster.ray.driver import Driver

    monkeypatch.setattr("relusweep.cluster.ray.driver.ATTEMPTS", 2)
    drivers: list[Driver] = []
    made = Driver.__init__
    monkeypatch.setattr(Driver, "__init__", lambda self, *given: (made(self, *given), drivers.append(self))[0])

    def worker() -> list[int]:
        return [pid for pid in training(store.path) if psutil.pid_exists(pid)]

    def kill() -> None:
        try:
            for failures in range(2):
                before = until(lambda: drivers and drivers[0].reached.get(0))
                until(lambda: drivers[0].reached[0] > before and store.checkpoints())  # noqa: B023 - called at once
                os.kill(until(worker)[0], signal.SIGKILL)
                until(lambda: drivers[0].retried > failures)  # noqa: B023
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    killing = threading.Thread(target=kill)
    killing.start()
    assignment = Assignment(store.path, spec.measure, "ray", 0.0)
    with pytest.raises(KeyboardInterrupt):
        list(place.train(assignment, iter([Pack(tuple(spec.expand()))]), lambda: None))
    killing.join()
    assert drivers[0].retried == 2
    assert "failed" not in [kind for kind, _ in drivers[0].ended.values()]
