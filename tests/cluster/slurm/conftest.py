"""A real SLURM cluster for the tests of this folder: started once, idle at the beginning of each test."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relusweep.cluster.slurm.submission import Submission
from relusweep.sweep.probe import Cost
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store
from tests.cluster.slurm.cluster import Cluster, lacking, room_for
from tests.conftest import WITHOUT_SLURM


@pytest.fixture(scope="session")
def slurm(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of three nodes; `parametrize("slurm", [{"array_size": 5}], indirect=True)` asks for another."""
    if programs := lacking():
        pytest.skip(f"no {', '.join(programs)} on this machine; the Debian packages slurm-wlm and munge bring them")
    with Cluster(**getattr(request, "param", {})) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _on_the_cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let SLURM's commands find the cluster, and leave it as it was found."""
    if request.path.stem in WITHOUT_SLURM:
        yield
        return
    slurm: Cluster = request.getfixturevalue("slurm")
    for name in set(os.environ) - set(slurm.environment):
        monkeypatch.delenv(name)
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    yield
    slurm.clear()


ROOT = Path(__file__).parents[3]

# What a launcher does in seconds here, and in minutes elsewhere; a run is said to take a second.
HASTE = {
    "relusweep.cluster.slurm.queue.LEAST_SECONDS": 2.0,
    "relusweep.cluster.slurm.queue.SETTLE_SECONDS": 1.0,
    "relusweep.cluster.cost.probe": lambda runs, device: Cost(0.0, 1.0),
}


@pytest.fixture
def submitting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[object]]:
    """Give the arguments that submit a spec, with elements of so many seconds at least."""

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
from tests.cluster.slurm.conftest import HASTE
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
    """List all submissions of a store, the oldest first."""

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
