"""RayTune: packs as trials of Ray Tune. Tune schedules and retries; what is done is what the store has."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain, islice
from pathlib import Path
from typing import final

import torch

from relusweep.cluster.backend import Assignment, BackendError, LaunchOptions, Outcome
from relusweep.cluster.host.cores import own_cores
from relusweep.cluster.host.signals import answered
from relusweep.cluster.local.backend import Local
from relusweep.cluster.ray.cluster import address, connected, load, started
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.store import Store

_TRIALS = 500  # handed to Tune at one time: it forgets no trial before the last one has ended


@final
class RayTune:
    """A Ray cluster: the one that RAY_ADDRESS names, else one on this machine for the length of the sweep."""

    def __init__(
        self, workers: int | None = None, machine: Path | None = None, launch: LaunchOptions | None = None
    ) -> None:
        if machine is not None:
            raise BackendError(f"--machine {machine}: a file of SLURM's; expected --on slurm with it, or RAY_ADDRESS.")
        self.say = (launch or LaunchOptions()).say
        ray = load()
        if not address():
            self.node = Local(workers)
            self.unit = "GPU" if self.node.device.type == "cuda" else "CPU"
            self.workers = self.node.workers
            return
        with connected():
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.unit = "GPU" if torch.version.cuda and any("GPU" in node for node in nodes) else "CPU"
        units = [int(node.get(self.unit, 0)) for node in nodes]
        if sum(units) < (workers or 1):
            asked = f"--workers {workers}: " if workers else ""
            raise BackendError(f"{asked}RAY_ADDRESS={address()}: {sum(units)} {self.unit}(s); expected {workers or 1}.")
        self.workers = workers or sum(units)
        self.node = Local(min(self.workers, max(units)))  # a node of the cluster is taken to be like this machine

    @property
    def device(self) -> torch.device:
        """See `Backend`."""
        return self.node.device

    def pack_size(self, run: Run, measure: Measure, missing: int) -> int:
        """See `Backend`: as a machine of one's own would have it for its share of the runs."""
        return self.node.pack_size(run, measure, -(-missing * self.node.workers // self.workers))

    def train(self, assignment: Assignment, packs: Iterator[Pack], tick: Callable[[], None]) -> Iterator[Outcome]:
        """See `Backend`."""
        with (
            answered(signal.default_int_handler),
            self._cluster(title := _title(Store(assignment.store))),
        ):  # until Tune runs
            from relusweep.cluster.ray.driver import Driver  # loads Ray

            most, past = max(_TRIALS, 20 * self.workers), Counter[str]()
            while (pack := next(packs, None)) is not None:
                driver = Driver(assignment, title, self.workers, self.unit, tick, self.say, past)
                yield from driver.train(chain([pack], islice(packs, most - 1)))

    def _cluster(self, title: str) -> AbstractContextManager[None]:
        if address():
            return connected(title)
        cpus = max(self.workers, own_cores())
        return started(cpus, self.workers if self.unit == "GPU" else 0, self.say, title)


def _title(store: Store) -> str:
    """Return what the dashboard calls a sweep: its name and its study."""
    name, study = store.sweep_name() or "unnamed", store.study()
    return f"{name} ({study})" if study else name
