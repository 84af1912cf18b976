"""A real Ray cluster for the tests: started once, with a token that these tests know."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.cluster.ray.cluster import Cluster


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Cluster]:
    """A cluster of one node with two CPUs."""
    if find_spec("ray") is None:
        pytest.skip("no Ray; pip install 'relusweep[ray]' brings it")
    cluster = Cluster(cpus=2)
    yield cluster
    cluster.close()
