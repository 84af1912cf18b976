"""Execute: a pack becomes records. Trains to each stop, records moments, checks convergence, measures ends."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from relusweep.sweep.checkpoint import load_checkpoint, write_checkpoint
from relusweep.sweep.device import device_name
from relusweep.sweep.extra_measures import extra_measures
from relusweep.sweep.measure import end, moment
from relusweep.sweep.measured import Measured
from relusweep.sweep.pack import Pack, point_bytes
from relusweep.sweep.record import SCHEMA_VERSION, code_version
from relusweep.sweep.results import Results
from relusweep.sweep.run import ENDLESS, Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.states import States, short
from relusweep.sweep.states import write as write_states
from relusweep.sweep.train import CHECK_STEPS, CHECKS_IN_A_ROW, State, Training

_MEASURE_BYTES = 2**26  # what the temporaries of one tile of measures may take
_STATE_BYTES = 2**17  # of a run: what is larger is kept if the spec asks for it
_SAVING_SHARE = 0.05  # of the time may go into checkpoints, however large they are

Tables = dict[str, pa.Table]


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """The worker was asked to stop; the pack's state has been written and the pack will go on from there."""


@dataclass
class Progress:
    """Where a pack stands; passed to `heartbeat` after every tile."""

    pack_id: str
    runs: int
    max_steps: int
    step: int = 0
    run_steps: int = 0
    seconds: float = 0.0
    ended: dict[str, int] = field(default_factory=lambda: {"converged": 0, "budget": 0, "diverged": 0})


def execute(
    pack: Pack,
    measure: Measure,
    device: torch.device,
    backend: str,
    *,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 120.0,
    heartbeat: Callable[[Progress], None] = lambda progress: None,
    states: Path | None = None,
) -> Tables:
    """Train and measure all runs of a pack.

    Args:
        pack: What to train.
        measure: What to record besides the ends.
        device: Where.
        backend: Name for the records.
        checkpoint: File for the state of the unfinished pack: read if it is there, replaced every
            `checkpoint_seconds` and when `heartbeat` raises, left to the caller to delete.
        checkpoint_seconds: Time between two states.
        heartbeat: Called often; raises `Interrupted` to stop.
        states: File for the states of the runs that use up their steps, see `sweep.states`.

    Returns:
        The three tables.

    Raises:
        Interrupted: what `heartbeat` raised, after the state has been written.
    """
    execution = _Execution(pack, measure, device, backend, checkpoint, checkpoint_seconds, heartbeat)
    tables = execution.run()
    if states is not None:
        execution.keep(states)
    return tables


class _Execution:
    def __init__(
        self,
        pack: Pack,
        measure: Measure,
        device: torch.device,
        backend: str,
        checkpoint: Path | None,
        checkpoint_seconds: float,
        heartbeat: Callable[[Progress], None],
    ) -> None:
        self.pack, self.measure, self.device, self.backend = pack, measure, device, backend
        self.path, self.checkpoint_seconds, self.on_heartbeat = checkpoint, checkpoint_seconds, heartbeat
        self.moments = frozenset(measure.moments(pack.shape.max_steps))
        self.training = Training(pack, device)
        self.progress = Progress(pack.id, len(pack.runs), pack.shape.max_steps)
        self.handled = 0  # the last stop whose measures and check are in `results`
        self.results = Results()
        self.left: tuple[list[Run], State] = [], {}  # when their steps were used up
        self.ended_steps = 0  # taken by the runs in `results`
        self.clock = self.written = time.monotonic()
        self.saving = 0.0  # seconds that the last checkpoint took

    def run(self) -> Tables:
        self.restore()
        training = self.training
        try:
            while len(training):
                if self.handled < training.step:
                    self.handle(training.step)
                else:
                    training.advance(self.next_stop(training.step), self.heartbeat)
        except Interrupted:
            self.save()
            raise
        ids = [run.id for run in training.runs]
        return self.results.tables(ids, training.architecture, self.elapsed() / len(ids))

    def next_stop(self, step: int) -> int:
        """Return the next convergence check, moment or end; at steps that do not depend on the pack."""
        ahead = [moment for moment in self.moments if moment > step]
        return min([step - step % CHECK_STEPS + CHECK_STEPS, self.pack.shape.max_steps, *ahead])

    def elapsed(self) -> float:
        """Return the seconds spent on this pack, those before an interruption included."""
        now = time.monotonic()
        self.progress.seconds += now - self.clock
        self.clock = now
        return self.progress.seconds

    def heartbeat(self) -> None:
        training, progress = self.training, self.progress
        self.elapsed()
        progress.step = training.step
        progress.run_steps = self.ended_steps + training.step * len(training)
        self.on_heartbeat(progress)
        if time.monotonic() - self.written > max(self.checkpoint_seconds, self.saving / _SAVING_SHARE):
            self.save()

    # Stops -----------------------------------------------------------------------------------------------------------

    def handle(self, step: int) -> None:
        """Record a moment, check convergence, take out what has ended. Interrupted half-way, it has done nothing."""
        training, added = self.training, Results()
        if step in self.moments:
            tiles = self.measured()
            added.add_moment(step, [(positions, measures) for positions, measures, _ in tiles])
            if self.measure.save_weights == "moments" and tiles:
                positions, thetas = (torch.cat([tile[part] for tile in tiles]).cpu() for part in (0, 2))
                added.paths.append((step, positions, thetas))
        last = step >= self.pack.shape.max_steps
        going_on = None
        if last or step % CHECK_STEPS == 0:
            passes, diverged = training.check_convergence()
            converged = passes >= CHECKS_IN_A_ROW
            ended = torch.ones_like(diverged) if last else converged | diverged
            going_on = (~ended, passes)
            if bool(ended.any()):
                status = [
                    ("diverged" if d else "converged" if c else "budget") if e else None
                    for c, d, e in zip(converged.tolist(), diverged.tolist(), ended.tolist(), strict=True)
                ]
                self.end(step, status, added)
                if last:
                    self.left = training.left(~(converged | diverged), passes)
        self.results.add(added)
        for row in added.runs:
            self.progress.ended[row["status"]] += 1
            self.ended_steps += step
        if going_on is not None:
            training.go_on(*going_on)
        self.handled = step

    def measured(self) -> list[tuple[Tensor, dict[str, Tensor], Tensor]]:
        """Measure the runs in training that are finite: positions, measures and parameters, tile by tile."""
        tiles = []
        for tile in self.training.tiles(self.measure_tile()):
            point = self.training.point(tile)
            rows = torch.arange(tile.start, tile.stop, device=self.device)[point.finite]
            if len(rows):
                point = point if len(rows) == len(point.theta) else self.training.point(rows)
                tiles.append((self.training.state["position"][rows], moment(point)[0], point.theta))
            self.heartbeat()
        return tiles

    def end(self, step: int, status: list[str | None], added: Results) -> None:
        """Measure the runs that have a status; a diverged one has no measures."""
        training = self.training
        positions = training.state["position"].tolist()
        diverged = [row for row, name in enumerate(status) if name == "diverged"]
        added.runs += [self.record(positions[row], "diverged", step, {}) for row in diverged]
        finite = [row for row, name in enumerate(status) if name in ("converged", "budget")]
        size = self.measure_tile()
        for start in range(0, len(finite), size):
            rows = torch.tensor(finite[start : start + size], device=self.device)
            point = self.training.point(rows)
            lr = point.theta.new_tensor([training.runs[positions[row]].lr for row in rows.tolist()])
            measured = end(point, self.training.point(rows, test=True) if self.pack.shape.n_test else None, lr)
            if self.measure.extra:
                runs = tuple(training.runs[positions[row]] for row in rows.tolist())
                measured = {**measured, **extra_measures(self.measure, Measured(runs, point))}
            columns = _columns(measured)
            for row, measures in zip(rows.tolist(), columns, strict=True):
                added.runs.append(self.record(positions[row], status[row] or "", step, measures))
            if self.measure.save_weights:
                added.weights.append((training.state["position"][rows].cpu(), point.theta.cpu()))
            self.heartbeat()

    def record(self, position: int, status: str, step: int, measures: Mapping[str, Any]) -> dict[str, Any]:
        run = self.training.runs[position]
        return run.model_dump() | dict(measures) | {
            "run_id": run.id,
            "status": status,
            "steps": step,
            "pack_id": self.pack.id,
            "pack_size": len(self.pack.runs),
            "device": device_name(self.device),
            "backend": self.backend,
            "kernel": self.training.kernel.NAME,
            "code_version": code_version(),
            "schema_version": SCHEMA_VERSION,
        }  # fmt: skip

    def measure_tile(self) -> int:
        """Return how many runs to measure at once: activations, Gram matrices and Lanczos vectors have to be held."""
        return max(1, min(256, _MEASURE_BYTES // point_bytes(self.pack.shape)))

    def keep(self, path: Path) -> None:
        """Write the states of the runs that have used up their steps, where they are to be kept."""
        runs, state = self.left
        size = sum(tensor[:1].nbytes for tensor in state.values())
        asked = self.measure.save_states if self.measure.save_states is not None else size <= _STATE_BYTES
        if asked and any(run.schedule in ENDLESS for run in runs):
            positions = state.pop("position")
            moments = self.results.moments_of(positions)
            dumps, seconds = list(map(short, runs)), self.progress.seconds / len(self.pack.runs)
            write_states(path, runs, States(dumps, self.pack.shape.max_steps, state, moments, seconds))

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        if self.path is None:
            return
        started = time.monotonic()
        saved = {
            "runs": list(map(short, self.pack.runs)),
            "measure": self.measure.saved(),
            "training": self.training.save(),
            "handled": self.handled,
            "harvest": self.results.saved(),
            "seconds": self.elapsed(),
            "ended": self.progress.ended,
        }
        write_checkpoint(self.path, saved)
        self.written = time.monotonic()
        self.saving = self.written - started

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one of this very pack from which that can be done."""
        saved = load_checkpoint(self.path) if self.path is not None else None
        if saved is None or not self.measure.is_of(saved.get("measure")):
            return
        if {run.id for run in self.pack.runs} != set(saved["training"]["ids"]):
            return
        try:
            handled, seconds = int(saved["handled"]), float(saved["seconds"])
            if not min(saved["training"]["step"], self.pack.shape.max_steps - 1) >= handled >= 0 <= seconds:
                return
            results = Results.restored(saved["harvest"], saved["training"]["ids"], self.training.architecture.count)
            self.training.restore(saved["training"], {row["run_id"] for row in results.runs})
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # not what `save` wrote
            return
        self.handled, self.results, self.progress.seconds = handled, results, seconds
        for row in results.runs:
            self.progress.ended[row["status"]] += 1
            self.ended_steps += row["steps"]


def _columns(measures: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Turn columns of tensors into rows of numbers, null where a number is not finite; and of lists of numbers."""
    lists = {name: tensor.tolist() for name, tensor in measures.items()}
    return [
        {name: _finite(value) for name, value in zip(lists, row, strict=True)}
        for row in zip(*lists.values(), strict=True)
    ]


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
