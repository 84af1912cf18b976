"""Probe: how long runs of a shape take on this machine, from a fraction of a second of training."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch

from relusweep.sweep.execute import execute
from relusweep.sweep.pack import MAX_RUNS, Pack, run_bytes
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.train import Training, tile_size

_PROBE_SECONDS = 0.3
_PROBE_BYTES = 2**32


@dataclass(frozen=True)
class Cost:
    """Seconds on one worker: a step of one run, and the measures of one moment of one run."""

    step: float
    moment: float

    def at_most(self, run: Run, measure: Measure) -> float:
        """Bound the seconds of one run: as if it used all its steps."""
        return run.max_steps * self.step + (1 + len(measure.moments(run.max_steps))) * self.moment


def probe(runs: Sequence[Run], device: torch.device) -> Cost:
    """Time a tile of these runs, all of one shape; nothing is written.

    The rate is that of a first few hundred steps at a vanishing step size, so that no network dies or diverges.
    """
    most = 64 if device.type == "cpu" else max(64, min(MAX_RUNS, _PROBE_BYTES // run_bytes(runs[0], Measure())))
    size = min(tile_size(runs[0], device), most)  # few runs leave most of a GPU idle
    begun = {"lr": 1e-12, "from_step": None, "from_parameters": None}
    tile = [_but(run, seed=index, **begun) for index, run in zip(range(size), cycle(runs), strict=False)]
    training = Training(Pack(tuple(tile)), device)
    training.advance(2, lambda: None)  # warm up
    _wait(training)
    start, steps = time.perf_counter(), 2
    while time.perf_counter() - start < _PROBE_SECONDS:
        stop = training.step + steps
        training.advance(stop, lambda: None)
        _wait(training)
        steps *= 2
    step = (time.perf_counter() - start) / (training.step - 2) / size
    few = Pack(tuple(_but(run, max_steps=1) for run in tile[:2]))
    execute(few, Measure(), device, "probe")  # compiles, once a machine
    start = time.perf_counter()
    execute(few, Measure(), device, "probe")
    return Cost(step, (time.perf_counter() - start) / len(few.runs))


def _wait(training: Training) -> None:
    """Wait for the device: a GPU is given steps much faster than it takes them."""
    training.state["peak"].tolist()


def _but(run: Run, **changes: Any) -> Run:
    return Run.model_validate(run.model_dump() | changes)
