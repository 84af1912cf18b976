"""A real SLURM cluster for the tests of this folder: started once, idle at the beginning of each test."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.slurm.cluster import Cluster, lacking


@pytest.fixture(scope="session")
def slurm(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of three nodes; `parametrize("slurm", [{"array_size": 5}], indirect=True)` asks for another."""
    if programs := lacking():
        pytest.skip(f"no {', '.join(programs)} on this machine; the Debian packages slurm-wlm and munge bring them")
    with Cluster(**getattr(request, "param", {})) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _on_the_cluster(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let SLURM's commands find the cluster, and leave it as it was found."""
    for name in set(os.environ) - set(slurm.environment):
        monkeypatch.delenv(name)
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    yield
    slurm.clear()
