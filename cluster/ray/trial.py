"""Trial: what Ray Tune runs for one pack, and what the actor that runs it reports to Prometheus."""

import os
import platform
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import ray
import torch
from ray import tune
from ray.util.metrics import Counter, Gauge

from relusweep.cluster.backend import Assignment, Outcome, failure
from relusweep.cluster.jobs.pack_file import PackFile
from relusweep.cluster.ray.parts import begun, parts
from relusweep.cluster.worker import Worker
from relusweep.sweep.device import device_name, devices
from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.pack import Pack
from relusweep.sweep.record import SCHEMAS
from relusweep.sweep.store.part import UNREADABLE, read_part, stack

PACKS_FILE = "packs.parquet"  # in the folder of the driver
STOP_FILE = "stop"  # beside it: the states are to be written
_REPORT_SECONDS = 2.0
_LOOK_SECONDS = 1.0  # between looks for the stop file
_COLUMNS = ("status", "loss", "eos_ratio")
_BY_GRAVITY = ("recorded", "elsewhere", "interrupted", "failed")


class PackTrial(tune.Trainable):
    """An actor that trains one pack after the other, as Tune hands them to it."""

    def setup(  # pyright: ignore[reportIncompatibleMethodOverride] - the rest comes by tune.with_parameters
        self,
        config: dict[str, Any],
        assignment: Assignment,
        folder: Path,
        sweep: str,
        title: str,
        environment: dict[str, str],
    ) -> None:
        """Become a worker, and begin with the first pack."""
        os.environ.update(environment)
        device = devices()[0]
        self.folder, self.title, self.raylet = folder, title, os.getppid()
        self.packs = PackFile(folder / PACKS_FILE)
        self._looked, self._is_to_stop = 0.0, False
        self.worker = Worker(assignment, device, gone=self._stopped)
        self.metrics = _Metrics(sweep, device)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin with the next pack."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait a moment, and report; a crash becomes an exception, so that Tune tries elsewhere."""
        self.thread.join(_REPORT_SECONDS)
        report = self._report()
        if self.thread.is_alive():
            return report
        outcome = self.outcome
        if isinstance(outcome, Exception):
            print(f"pack {self.pack.id}: {outcome}", flush=True)
            return report | {"done": True, "kind": type(outcome).__name__, "error": str(outcome)}
        print(f"pack {self.pack.id}: {outcome.kind} {outcome.error}".rstrip(), flush=True)
        if outcome.kind == "failed":
            self.worker.store.write_failure(self.pack.id, failure(outcome, 1))
            raise RuntimeError(outcome.error)
        if outcome.kind == "recorded":
            report |= self._summary()
        return report | {"done": True, "kind": outcome.kind, "error": ""}

    def cleanup(self) -> None:
        """Write the state, if a pack is in training."""
        self.worker.stop.set()
        self.thread.join()

    def __repr__(self) -> str:
        """Return what the dashboard calls the actor, for good: which packs it trains is in its log."""
        return f"relusweep {self.title}" if hasattr(self, "title") else "relusweep"

    def _begin(self, config: dict[str, Any]) -> None:
        (self.pack,) = self.packs.read([config["pack"]])
        again = ", from its last state" if self.worker.store.checkpoint(self.pack.id).exists() else ""
        print(f"pack {self.pack.id}: {description(self.pack)}, on {self.metrics.place}{again}", flush=True)
        self.worker.store.clear_failure(self.pack.id)
        self.halvings = begun(self.folder, config["pack"], len(self.pack.runs))
        self.recorded: list[Pack] = []  # the pack, or parts of it
        self.worker.progress = None
        self.outcome: Outcome | Exception = Outcome(self.pack, "interrupted")
        self._seen = (-1, time.monotonic())
        self.thread = threading.Thread(target=self._train, daemon=True)  # Ray keeps the main thread for itself
        self.thread.start()

    def _train(self) -> None:
        torch.set_num_threads(1)
        try:
            outcomes = [*self.worker.train_in_parts(parts(self.pack, self.halvings))]
            self.recorded = [outcome.pack for outcome in outcomes if outcome.kind == "recorded"]
            self.outcome = replace(max(outcomes, key=lambda each: _BY_GRAVITY.index(each.kind)), pack=self.pack)
        except RelusweepError as error:
            self.outcome = error

    def _stopped(self) -> bool:
        now = time.monotonic()
        if now - self._looked > _LOOK_SECONDS:
            self._looked = now
            self._is_to_stop = (self.folder / STOP_FILE).exists() or os.getppid() != self.raylet
        return self._is_to_stop

    def _report(self) -> dict[str, Any]:
        """Return where the pack stands, and show it to Prometheus."""
        progress = self.worker.progress
        ended = dict(progress.ended) if progress else {"converged": 0, "budget": 0, "diverged": 0}
        rate = progress.run_steps / max(progress.seconds, 1e-9) if progress else 0.0
        steps = progress.run_steps if progress else 0
        if steps != self._seen[0]:
            self._seen = (steps, time.monotonic())
        training = self.thread.is_alive()
        self.metrics.show(rate if training else 0.0, time.monotonic() - self._seen[1] if training else 0.0)
        counts = {"runs": len(self.pack.runs), "ended": sum(ended.values()), "run_steps": steps}
        counts |= {"halvings": self.halvings}
        return ended | counts | {"run_steps_per_second": rate}

    def _summary(self) -> dict[str, Any]:
        """Return a summary of the pack as recorded: how its runs ended, the median loss, the largest eos_ratio."""
        columns = pa.schema([SCHEMAS["runs"].field(name) for name in _COLUMNS])
        folder = self.worker.store.path / "runs"
        try:
            rows = stack((read_part(folder / f"pack-{pack.id}.parquet", columns) for pack in self.recorded), columns)
        except UNREADABLE:
            return {}  # it has been compacted
        ended = {each["values"]: each["counts"] for each in rows["status"].value_counts().to_pylist()}
        self.metrics.count(ended)
        losses, ratios = (rows[name].drop_null().to_numpy() for name in ("loss", "eos_ratio"))
        report: dict[str, Any] = {**ended, "ended": len(rows)}
        if len(losses):
            report["median_loss"] = float(np.median(losses))
        if len(ratios):
            report["max_eos_ratio"] = float(ratios.max())
        return report


def description(pack: Pack) -> str:
    """Return in a few words what a pack is."""
    shape, runs = pack.shape, len(pack.runs)
    widths = f"{shape.width}" if shape.depth == 1 else f"{shape.width} and {shape.width2}"
    return (
        f"{runs} run{'s' if runs > 1 else ''}, problem {shape.problem}, n = {shape.n}, d = {shape.d}, width {widths}, "
        f"at most {shape.max_steps} steps"
    )


class _Metrics:
    """Numbers by sweep, node and device; never by run, of which there may be a million."""

    def __init__(self, sweep: str, device: torch.device) -> None:
        ids = ray.get_runtime_context().get_accelerator_ids()["GPU"] if device.type == "cuda" else []
        self.device, self.place = device, " ".join([device_name(device), *ids])  # for each worker, its GPU is cuda:0
        tags = {"sweep": sweep, "node": platform.node(), "device": self.place}
        keys = tuple(tags)
        self.runs = Counter("relusweep_runs", "Runs recorded.", (*keys, "status"))
        self.rate = Gauge("relusweep_run_steps_per_second", "Steps a second, summed over the runs.", keys)
        self.idle = Gauge("relusweep_seconds_since_progress", "Time since a step was taken.", keys)
        self.memory = Gauge("relusweep_device_bytes", "Memory that the worker holds on its device.", keys)
        for metric in (self.runs, self.rate, self.idle, self.memory):
            metric.set_default_tags(tags)

    def show(self, rate: float, idle: float) -> None:
        self.rate.set(rate)
        self.idle.set(idle)
        is_gpu = self.device.type == "cuda"
        self.memory.set(torch.cuda.memory_reserved(self.device) if is_gpu else psutil.Process().memory_info().rss)

    def count(self, ended: dict[str, int]) -> None:
        for status, runs in ended.items():
            self.runs.inc(runs, {"status": status})
