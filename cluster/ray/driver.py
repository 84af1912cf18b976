"""Driver: hands packs to Ray Tune as trials, watches them, and deletes what Tune keeps of them."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.util.metrics import Gauge
from ray.util.state import list_placement_groups
from ray.util.state.exception import RayStateApiException

from relusweep.cluster.backend import ATTEMPTS, Assignment, Outcome, failure
from relusweep.cluster.host.signals import answer, restored
from relusweep.cluster.jobs.folder import JobFolder
from relusweep.cluster.jobs.pack_file import PackFile
from relusweep.cluster.ray.cluster import address
from relusweep.cluster.ray.parts import starved
from relusweep.cluster.ray.trial import PACKS_FILE, STOP_FILE, PackTrial, description
from relusweep.sweep.data import DataError
from relusweep.sweep.kernels.jit.private import CacheError
from relusweep.sweep.pack import Pack
from relusweep.sweep.store.store import Store, StoreError

_TICK_SECONDS = 0.5
_FULL_SECONDS = 10.0  # without any worker, before the user gets a message
_BREAKING = {"StoreError": StoreError, "DataError": DataError, "CacheError": CacheError}


class Driver(tune.Callback):
    """Some packs, as trials of one run of Tune, which calls us back."""

    def __init__(
        self, assignment: Assignment, title: str, workers: int, unit: str, tick: Callable[[], None],
        say: Callable[[str], None], past: Counter[str],
    ) -> None:  # fmt: skip
        """Make a driver.

        Args:
            assignment: Where to record and what to measure.
            title: What people call the sweep.
            workers: Packs that are trained at one time.
            unit: What each of them takes, CPU or GPU.
            tick: Called about twice a second, to show progress.
            say: Shows the user a message.
            past: Packs that earlier drivers of this launcher brought to an end, by state; ours are added.
        """
        self.store = Store(assignment.store.absolute())
        self.assignment = replace(assignment, store=self.store.path)
        self.sweep = self.store.sweep_name() or "unnamed"
        self.title, self.workers, self.unit, self.tick, self.say, self.past = title, workers, unit, tick, say, past
        self.folder = JobFolder.new(self.store)
        self.packs = PackFile(self.folder.path / PACKS_FILE)
        self.ids: list[str] = []  # of packs
        self.names: list[str] = []  # of their trials
        self.ended: dict[int, tuple[Any, str]] = {}  # kind and error of a pack, by its number
        self.running: set[int] = set()
        self.reached: dict[int, tuple[int, int]] = {}  # how often a pack was halved, and the most steps since
        self.retried = 0
        self.stopping = False
        self.broken: Exception | None = None
        self.moved = self.ticked = time.monotonic()
        self.gauge = Gauge("relusweep_packs", "Packs that the driver has been given, by state.", ("sweep", "state"))
        self.gauge.set_default_tags({"sweep": self.sweep})

    def train(self, packs: Iterator[Pack]) -> Iterator[Outcome]:
        """Train packs; yield their outcomes when all have ended.

        Raises:
            StoreError, DataError, CacheError: what stopped a worker.
            KeyboardInterrupt: if a signal came; the states have been written.
        """
        with self.folder.held():
            try:
                self.folder.make()
                self.packs.write(map(self._named, packs))
                with restored():
                    self._fit()
                self.past.update(
                    {state: n for state, n in self._states().items() if state not in ("pending", "running")}
                )
                if self.broken:
                    raise self.broken
                if self.stopping:
                    raise KeyboardInterrupt
                for number, (kind, error) in sorted(self.ended.items()):
                    (pack,) = self.packs.read([number])
                    yield Outcome(pack, kind, error)
            finally:
                self.folder.remove()

    def _named(self, pack: Pack) -> Pack:
        self.ids.append(pack.id)
        self.names.append(f"{self.title} · {description(pack)} · {pack.id}")
        return pack

    def _fit(self) -> None:
        ids = self.ids
        settings = {name: value for name, value in os.environ.items() if name.startswith("RELUSWEEP_")}
        if data := settings.get("RELUSWEEP_DATA"):  # workers are in another folder
            settings["RELUSWEEP_DATA"] = os.path.abspath(data)
        given = {"assignment": self.assignment, "folder": self.folder.path, "sweep": self.sweep, "title": self.title}
        given |= {"environment": settings}
        trainable = tune.with_resources(
            tune.with_parameters(PackTrial, **given), {"cpu": 1} if self.unit == "CPU" else {"cpu": 0, "gpu": 1}
        )
        trainable.__qualname__ = PackTrial.__name__  # what the dashboard calls the actors' class
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(self.workers)
        tune.Tuner(
            trainable,
            param_space={"pack": tune.grid_search(list(range(len(ids))))},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                max_concurrent_trials=self.workers,
                trial_name_creator=lambda trial: self.names[trial.config["pack"]],
                trial_dirname_creator=lambda trial: ids[trial.config["pack"]],
            ),
            run_config=tune.RunConfig(
                name=self.sweep,
                storage_path=str(self.folder.path / "tune"),  # seen by all nodes, as Tune demands; gone with the packs
                failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                stop=_Stopped(self),
                callbacks=[self],
                verbose=0,
            ),
        ).fit()

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks, to go on from a state of its own; ours is the store."""
        return {}

    def stop(self, *_: object) -> None:
        """Ask the workers to write their states."""
        self.stopping = True
        (self.folder.path / STOP_FILE).touch()

    # What Tune calls -------------------------------------------------------------------------------------------------

    def setup(self, *_: Any, **__: Any) -> None:
        """Take the signals over, after Tune has."""
        answer(self.stop)

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Show progress, and a message if the cluster has no room for us."""
        now = time.monotonic()
        if now - self.ticked < _TICK_SECONDS:
            return
        self.ticked = now
        self.tick()
        for state, packs in self._states().items():
            self.gauge.set(packs + self.past[state], {"state": state})
        if self.running:
            self.moved = now
        elif address() and now - self.moved > _FULL_SECONDS:
            free = ray.available_resources().get(self.unit, 0)
            if free < 1 and not _has_room():
                self.moved = float("inf")  # once
                whole = ray.cluster_resources().get(self.unit, 0)
                self.say(f"RAY_ADDRESS={address()}: all {whole:g} {self.unit}(s) of the cluster are taken; waiting.")

    def _states(self) -> dict[str, int]:
        """Return the counts of this driver's packs."""
        failed = sum(kind == "failed" for kind, _ in self.ended.values())
        return {
            "pending": len(self.ids) - len(self.ended) - len(self.running),
            "running": len(self.running),
            "done": len(self.ended) - failed,
            "failed": failed,
            "retried": self.retried,
        }

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A worker has begun with a pack."""
        self.running.add(trial.config["pack"])

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """Allow another `ATTEMPTS` to a pack that gets further than before, or is cut smaller."""
        number, reached = trial.config["pack"], (result["halvings"], result["run_steps"])
        if reached > self.reached.get(number, (0, 0)):
            self.reached[number] = reached
            if trial.num_failures:
                trial.max_failures = trial.num_failures + ATTEMPTS

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A worker has come to an end with a pack."""
        number, result = trial.config["pack"], trial.last_result
        self.running.discard(number)
        kind, error = result["kind"], result["error"]
        if kind in _BREAKING:
            self.broken = _BREAKING[kind](error)
            self.stop()
        else:
            self.ended[number] = kind, error

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A worker has died, or crashed; Tune gives the pack to another."""
        self.retried += 1
        self._failed(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """The last attempt has failed."""
        self.ended[trial.config["pack"]] = "failed", self._failed(trial)

    def _failed(self, trial: Any) -> str:
        """List the pack as failed, with the worker's error if it wrote one; return the error."""
        number = trial.config["pack"]
        self.running.discard(number)
        pack_id = self.ids[number]
        listed = next((each for each in self.store.failures() if each["pack_id"] == pack_id), None)
        if listed is None:
            (pack,) = self.packs.read([number])
            error, trace = f"worker process died on {trial.node_ip}. Out of memory? See the system's log.", ""
            if trial.error_file and (kept := Path(trial.error_file)).exists():
                trace = kept.read_text(encoding="utf-8").rpartition("Failure # ")[2]
            if starved(self.folder.path, number, trace):
                error = f"worker process died on {trial.node_ip}. There was not enough memory."
            elif "ray::" in trace:  # it did not die, it could not begin
                error = f"worker could not start: {trace.strip().splitlines()[-1].strip()}"
            listed = failure(Outcome(pack, "failed", error, trace), 0)
        self.store.write_failure(pack_id, listed | {"attempts": trial.num_failures})
        return listed["error"]


def _has_room() -> bool:
    """Return whether a worker of ours holds a place already: it may take long to start."""
    mine: list[Any] = [("creator_job_id", "=", ray.get_runtime_context().get_job_id()), ("state", "=", "CREATED")]
    try:
        return bool(list_placement_groups(filters=mine, limit=1, raise_on_missing_output=False))
    except RayStateApiException:  # it is the dashboard that is asked, and it may be busy
        return True


class _Stopped(tune.Stopper):
    """Ends the run of Tune when all workers have written their states."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.driver.stopping and not self.driver.running
