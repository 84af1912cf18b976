"""One node of a Ray cluster inside a job of SLURM: what `cluster.ray.job` has srun start on each of its nodes.

Its output, which srun brings to the launcher, is lines of JSON: Ray is up here, Ray has ended here, a signal came. It
ends, and Ray with it, when its input is closed. Ray itself gets none of SLURM's signals, which go to every process of a
job: its workers have states to write first, and the launcher sees to that.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from relusweep.cluster.host.cores import own_cores
from relusweep.cluster.host.orphans import adopt_orphans, end_all_below
from relusweep.cluster.host.ports import free_ports
from relusweep.cluster.host.signals import answer, blocked
from relusweep.cluster.ray.cluster import STORE_BYTES
from relusweep.cluster.ray.folder import RAYS, folder

_STARTS = 3  # of Ray on one node: beyond, the node itself is ill
_LOOK_SECONDS = 0.1
_LAST_LINES = 8  # of what Ray printed, for the launcher's log


class Node:
    """Ray on this node, for as long as the launcher wants it."""

    def __init__(self, port: int, dashboard_port: int) -> None:
        self.name = os.environ["SLURMD_NODENAME"]
        self.is_head = os.environ["SLURM_NODEID"] == "0"
        self.head = os.environ["SLURM_LAUNCH_NODE_IPADDR"]  # srun runs where the job's first node is
        self.port, self.dashboard_port = port, dashboard_port
        self.unwanted = threading.Event()

    def stay(self) -> int:
        """Keep Ray up until the input ends; the head cannot be replaced, another node's Ray starts again."""
        threading.Thread(target=self._read_input, daemon=True).start()
        for start in range(1, _STARTS + 1):
            if not self._await_head():
                break
            was_up, lines = self._run()
            if self.unwanted.is_set():
                break
            again = was_up and start < _STARTS and not self.is_head
            self._report(ended=lines, again=again)
            if not again:
                return 1
        return 0

    def _run(self) -> tuple[bool, str]:
        """Run Ray; return whether it got up, and its last lines."""
        is_up = False
        with folder() as home, open(home / "start.log", "w+") as log:
            with blocked():  # for good, in Ray and what it starts
                ray = subprocess.Popen(
                    self.command(home), env=self._environment(home), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            while ray.poll() is None and not self.unwanted.wait(_LOOK_SECONDS):
                if not is_up and (home / RAYS / "ray_current_cluster").exists():  # written when the head knows us
                    is_up = True
                    self._report(up=self.address)
            end_all_below()
            log.seek(0)
            lines = [line.strip() for line in log if line.strip()][-_LAST_LINES:]
            with suppress(OSError, IndexError):  # where Ray says in one line which of its processes died
                lines = (home / RAYS / "session_latest/logs/ray_process_exit.log").read_text().strip().splitlines()[-1:]
        return is_up, "\n".join(lines).strip()

    def command(self, home: Path) -> list[str]:
        """Return how Ray is started here: on free ports, with what SLURM gave to the job and no more."""
        gpus = [device for device in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
        place = [f"--address={self.head}:{self.port}"]
        if self.is_head:
            place = ["--head", f"--port={self.port}"]
            place += [f"--dashboard-host={self.address}", f"--dashboard-port={self.dashboard_port}"]
        return [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *place),
            *(f"--node-name={self.name}", f"--node-ip-address={self.address}", f"--temp-dir={home / RAYS}"),
            *(f"--num-cpus={cpus()}", f"--num-gpus={len(gpus)}", f"--object-store-memory={STORE_BYTES}"),
            *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),
            *(f"--ray-client-server-port={free_ports(1)[0]}", "--include-log-monitor=false", "--disable-usage-stats"),
        ]

    @property
    def address(self) -> str:
        """Address of this node on the network over which the job reaches its first one."""
        if self.is_head:
            return self.head
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((self.head, self.port))  # sends nothing
            return probe.getsockname()[0]

    def _environment(self, home: Path) -> dict[str, str]:
        """Return Ray's environment: ports for which it has no options, and one place for its temporary files."""
        ports = dict(zip(("AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT"), map(str, free_ports(2)), strict=True))
        return os.environ | ports | {"TMPDIR": str(home)}

    def _await_head(self) -> bool:
        """Wait until the head answers, however long: the launcher has a deadline. Return False if it has given up."""
        while not self.is_head:
            try:
                socket.create_connection((self.head, self.port), 5).close()
                break
            except OSError:
                if self.unwanted.wait(_LOOK_SECONDS):
                    return False
        return not self.unwanted.is_set()

    def _read_input(self) -> None:
        while os.read(0, 4096):
            pass
        self.unwanted.set()

    def pass_on(self, number: int, _: object) -> None:
        """Pass a signal on to the launcher, which may not have got it."""
        self._report(signal=number)

    def _report(self, **what: Any) -> None:
        os.write(1, (json.dumps({"node": self.name} | what) + "\n").encode())  # whole, whatever interrupts


def cpus() -> int:
    """Return the number of cores of the job on this node, whether SLURM confines it to them or not."""
    confined = own_cores()
    return min(confined, int(os.environ.get("SLURM_CPUS_ON_NODE", confined)))


if __name__ == "__main__":
    adopt_orphans()
    node = Node(*map(int, sys.argv[1:3]))
    answer(node.pass_on)
    sys.exit(node.stay())
