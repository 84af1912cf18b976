"""A Ray cluster for tests, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[3]
_CODE = """
import os, sys
from relusweep.cluster.ray.cluster import started
os.environ.pop("RAY_ADDRESS", None)
with started(int(sys.argv[1]), 0, lambda said: None):
    import ray
    node = ray.nodes()[0]
    gcs = ray.get_runtime_context().gcs_address
    print(gcs, os.environ["RAY_AUTH_TOKEN_PATH"], f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}",
          ray._private.worker.global_worker.node.webui_url, flush=True)
    sys.stdin.read()
"""


class Cluster:
    """One node with so many CPUs; `environment` leads to it."""

    def __init__(self, cpus: int) -> None:
        command = [sys.executable, "-c", _CODE, str(cpus)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline().split()
        assert len(said) == 4, "Ray did not start"
        self.address, self.token, self.metrics, self.dashboard = said
        self.environment = {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": self.token}

    def workers(self) -> list[psutil.Process]:
        """Processes that train, or could."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [each for each in below if each.name().startswith("ray::")]

    def close(self) -> None:
        """End it as a person would, and wait."""
        self.process.communicate()
