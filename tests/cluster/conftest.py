"""A real Ray cluster for the tests: started once, with a token that these tests know. And what its users type."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.ray.cluster import ROOT, Cluster


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Cluster]:
    """A cluster of one node with two CPUs."""
    if find_spec("ray") is None:
        pytest.skip("no Ray; pip install 'relusweep[ray]' brings it")
    cluster = Cluster(cpus=2)
    yield cluster
    cluster.close()


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
