"""Real clusters for the tests, of Ray and of SLURM, each started once; what their users type, and what comes of it."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from relusweep.cluster.slurm.submission import Submission
from relusweep.sweep.probe import Cost
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store
from tests.cluster.ray.cluster import ROOT
from tests.cluster.ray.cluster import Cluster as RayCluster
from tests.cluster.slurm.cluster import Cluster as SlurmCluster
from tests.cluster.slurm.cluster import lacking, room_for


def is_training(store: Path) -> bool:
    """Return whether a worker has said where it stands."""
    return any((store / "progress").glob("[!.]*.json"))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """A cluster of one node with two CPUs."""
    if find_spec("ray") is None:
        pytest.skip("no Ray; pip install 'relusweep[ray]' brings it")
    cluster = RayCluster(cpus=2)
    yield cluster
    cluster.close()


@pytest.fixture
def on_ray(ray_cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> RayCluster:
    """Let commands use the Ray cluster of the tests instead of starting one."""
    for name, value in ray_cluster.environment.items():
        monkeypatch.setenv(name, value)
    return ray_cluster


@pytest.fixture
def run(launch: Callable[..., Any]) -> Callable[..., tuple[int, str, str]]:
    """Run a command to its end in a process of its own; gives exit code, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        process = launch("run", *arguments)
        out, err = process.communicate(timeout=100)
        return process.returncode, out, err

    return call


@pytest.fixture
def training() -> Callable[[Path], list[int]]:
    """Return the ids of the processes that have taken a step in a pack of a store."""

    def find(store: Path) -> list[int]:
        return [int(each["worker"].rpartition("-")[2]) for each in Store(store).progress() if each["run_steps"]]

    return find


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Type a line of slurm/README.md for a sweep on Ray, in a shell with an active environment.

    It is named by the place that it is for; what stands there for something else is replaced.
    """
    text = (ROOT / "slurm" / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| where \| type \|\n\|---\|---\|\n((?:\|.*\n)+)", text, flags=re.M)
    lines = dict(re.findall(r"^\| (.*?) \| `(.*?)`", table, flags=re.M))
    here = {"RELUSWEEP": ROOT, "PYTHONPATH": ROOT, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment = os.environ | {name: str(value) for name, value in here.items()} | {"OMP_NUM_THREADS": "1"}
    started = []

    def start(place: str, replaced: dict[str, object]) -> "subprocess.Popen[str]":
        line = lines[place]
        for shown, meant in replaced.items():
            assert shown in line, f"{line}: no {shown}"
            line = line.replace(shown, str(meant))
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(
            subprocess.Popen(["bash", "-c", line], cwd=tmp_path, env=environment, start_new_session=True, **pipes)
        )
        return started[-1]

    yield start
    for process in started:
        with process:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def slurm(request: pytest.FixtureRequest) -> Iterator[SlurmCluster]:
    """A cluster of three nodes; `parametrize("slurm", [{"array_size": 5}], indirect=True)` asks for another."""
    if programs := lacking():
        pytest.skip(f"no {', '.join(programs)} on this machine; the Debian packages slurm-wlm and munge bring them")
    with SlurmCluster(**getattr(request, "param", {})) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _on_slurm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let SLURM's commands find the cluster of a test that asks for one, and leave it as it was found."""
    if "slurm" not in request.fixturenames:
        yield
        return
    slurm = request.getfixturevalue("slurm")
    for name in set(os.environ) - set(slurm.environment):
        monkeypatch.delenv(name)
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    yield
    slurm.clear()


# What a launcher does in seconds here, and in minutes elsewhere; a run is said to take a second.
HASTE = {
    "relusweep.cluster.slurm.queue.LEAST_SECONDS": 2.0,
    "relusweep.cluster.slurm.queue.SETTLE_SECONDS": 1.0,
    "relusweep.cluster.cost.probe": lambda runs, device: Cost(0.0, 1.0),
}


@pytest.fixture
def submitting(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[object]]:
    """Return the arguments that submit a spec, with tasks of so many seconds at least."""

    def make(spec: Path, store: Path, seconds: float = 600, **machine: Any) -> list[object]:
        for place, value in HASTE.items():
            monkeypatch.setattr(place, value)
        monkeypatch.setattr("relusweep.cluster.slurm.arrays.LEAST_SECONDS", seconds)
        room = {} if "gpus_per_node" in machine else room_for(machine.pop("gpus_per_job", 1))
        asked = {"partition": "main", "time": "60"} | room | machine
        path = tmp_path / "machine.toml"
        path.write_text("\n".join(f"{key} = {value!r}" for key, value in asked.items()))
        return [spec, "--on", "slurm", "--machine", path, "--out", store]

    return make


def from_a_shell(*arguments: object, kills_itself_in: str = "", **started: Any) -> "subprocess.Popen[str]":
    """Start a command as from another shell, as hastily; it may kill itself where a function is called."""
    code = f"""
import os, signal, sys
from pytest import MonkeyPatch
from relusweep.cli import main
from tests.cluster.conftest import HASTE
killing = {{place: lambda *_, **__: os.kill(os.getpid(), 9) for place in {[kills_itself_in]} if place}}
for place, value in (HASTE | killing).items():
    MonkeyPatch().setattr(place, value)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a shell that runs the tests in the background
sys.exit(main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **pipes, **started)


@pytest.fixture
def shell() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start commands as from other shells."""
    started = []

    def start(*arguments: object, **given: Any) -> "subprocess.Popen[str]":
        started.append(from_a_shell(*arguments, **given))
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Do something beside a command that waits."""
    threads = []

    def start(what: Callable[[], None]) -> None:
        threads.append(threading.Thread(target=what))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


@pytest.fixture
def submissions() -> Callable[[Path], list[Submission]]:
    """Return all submissions of a store, the oldest first."""

    def find(store: Path) -> list[Submission]:
        found = [Submission(path.parent) for path in (store / "jobs").glob("*/submission.json")]
        return sorted(found, key=lambda each: each.content["time"])

    return find


@pytest.fixture
def verified(cli: Callable[..., Any], rows_on_disk: Callable[..., Any]) -> Callable[[Path], None]:
    """Assert that every planned run of a store is recorded, each once, and that nothing is left of the training."""

    def check(store: Path) -> None:
        opened = Store.open(store)
        planned = RunIds(run.id for run in Spec.read(opened.spec_path).expand())
        said = cli("verify", store)
        assert said.out.startswith(f"{store}: planned {len(planned)} = recorded {len(planned)} + missing 0"), said.out
        assert rows_on_disk(store)["runs"] == len(planned)
        assert not [*opened.checkpoints(), *opened.failures(), *(store / "claims").iterdir()]

    return check
