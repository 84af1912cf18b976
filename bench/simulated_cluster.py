"""How soon 1,000 GPUs finish a million runs, as the planner for SLURM hands them out: a simulation, event by event.

    python bench/simulated_cluster.py        runs that take at most 10, 30 and 100 seconds on a GPU
    python bench/simulated_cluster.py 60     or another number

Real is the planner: sizes of packs and tasks, arrays, throttles. Measured is what it cannot know. It reckons with
the most that runs can cost, while many converge early, and those of one step size alike: a simulated run takes the
share of its steps that one of its step size took here. And packs are not trained at the pace that a probe foretells:
that of a simulated pack is lognormal, with the mean and the spread of packs here. How long a run takes at most is
assumed.

The cluster: an array runs as many tasks at one time as it may, the next one as soon as a GPU is free. A task
loads for `START` seconds, trains its packs, and then packs of others that no task has begun, drawn at random, while its
time is enough. It is pre-empted with the probability `PREEMPTED` an hour, loses what it did since its last state, may
start again `REQUEUE` seconds later, and waits behind all others of its array, as on the test cluster; the pack that it
had in hand waits with it. The lower bound is the sum of all training over 1,000, or the longest run: without loading,
losses, or uncertainty.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import groupby
from pathlib import Path
from statistics import median

import numpy as np
import torch
from pinned import interleaved, pin
from rich import box
from rich.console import Console
from rich.table import Table

from relusweep.cluster import cost
from relusweep.cluster.slurm.arrays import Bundle, make_arrays, make_tasks, throttles
from relusweep.cluster.slurm.backend import Slurm
from relusweep.cluster.slurm.scheduler import MOST_TASKS
from relusweep.sweep.execute import execute
from relusweep.sweep.pack import Pack, make_packs
from relusweep.sweep.probe import Cost, probe
from relusweep.sweep.spec import Spec

GPUS, RATES, SEEDS, SAMPLE_SEEDS, STEPS, REPETITIONS = 1000, 16, 62_500, 16, 40_000, 3
START = 16.0  # what a task lasts besides its training, as slurm_overhead.py says
PREEMPTED, REQUEUE = 0.05, 120.0
CHECKPOINT = 120.0  # seconds between two states
CPU = torch.device("cpu")
SPEC = """
name = "million"
[fixed]
problem = "pyramid"
n = 16
width = 64
max_steps = {steps}
tolerance = 1e-5
[[block]]
grid = {{ lr = {{ log = [0.01, 1.0, {rates}] }}, seed = {{ range = [0, {seeds}] }} }}
"""
MACHINE = """
gpus_per_node = 4
time = "4:00:00"
max_array_tasks = {gpus}
"""


@dataclass(frozen=True)
class Spread:
    """What runs of each step size take of their steps, one number a run; seconds of packs over those foretold."""

    shares: dict[float, np.ndarray]
    pace: np.ndarray

    def seconds(self, pack: Pack, at_most: float, chance: np.random.Generator) -> np.ndarray:
        """Draw what each run of a pack takes."""
        counts = [(lr, len(list(runs))) for lr, runs in groupby(pack.runs, key=lambda run: run.lr)]
        shares = np.concatenate([chance.choice(self.shares[lr], count) for lr, count in counts])
        logs = np.log(self.pace)
        return at_most * shares * np.exp(chance.normal(logs.mean(), logs.std()))


def measured(spec: Spec) -> Spread:
    """Train a sample: a pack of each step size."""
    packs = {lr: Pack(tuple(runs)) for lr, runs in groupby(spec.expand(), key=lambda run: run.lr)}
    run = next(iter(packs.values())).shape
    foretold = median(probe([run], CPU).at_most(run, spec.measure) for _ in range(REPETITIONS))
    shares: dict[float, np.ndarray] = {}

    def train(lr: float) -> None:
        shares[lr] = execute(packs[lr], spec.measure, CPU, "bench")["runs"]["steps"].to_numpy() / STEPS

    seconds = interleaved({str(lr): partial(train, lr) for lr in packs}, REPETITIONS)
    return Spread(shares, np.array([median(seconds[str(lr)]) / shares[lr].sum() / foretold for lr in packs]))


@dataclass
class Running:
    """A task on a GPU: the earlier of its pre-emption and its time limit, and the pack that it has in hand."""

    number: int
    array: int
    stops: float
    limit: float
    pack: int | None = None
    began: float = 0.0


class Cluster:
    """Trains packs, event by event: a task has loaded, ends a pack, or is stopped."""

    def __init__(self, own: Sequence[Sequence[int]], at_most: Sequence[float], real: Sequence[float]) -> None:
        """Take the packs of each task, and the seconds of each pack, as foretold and as they turn out."""
        self.own, self.at_most, self.left = [list(packs) for packs in own], at_most, list(real)
        self.begun = [False] * len(self.left)  # in training, or done
        self.spare = list(range(len(self.left)))  # those that no task has begun, in no order …
        self.at: list[int | None] = list(self.spare)  # … and where each stands there
        self.last, self.times = 0.0, 0

    def run(self, arrays: Sequence[range], shares: Sequence[int], limit: float, chance: np.random.Generator) -> None:
        """Run all tasks, so many of each array at one time, none for longer than `limit`."""
        waiting = [[(0.0, number) for number in array] for array in arrays]
        events: list[tuple[float, int, Running]] = []

        def start(array: int, now: float) -> None:
            if waiting[array]:
                ready, number = heappop(waiting[array])
                now = max(now, ready)
                stops = now + min(chance.exponential(3600 / -np.log1p(-PREEMPTED)), limit)
                heappush(events, (min(now + START, stops), number, Running(number, array, stops, now + limit)))

        for array, share in enumerate(shares):
            for _ in range(share):
                start(array, 0.0)
        while events:
            now, number, task = heappop(events)
            if now >= task.stops and self.stop(task):
                heappush(waiting[task.array], (now + REQUEUE, number))
            elif now < task.stops and (end := self.next_end(task, now, chance)) is not None:
                heappush(events, (min(end, task.stops), number, task))
                continue
            self.last = max(self.last, now)
            start(task.array, now)

    def next_end(self, task: Running, now: float, chance: np.random.Generator) -> float | None:
        """Let a task go on with another pack; return when that will end, or None if nothing is left to it."""
        if task.pack is not None:
            self.left[task.pack] = 0.0
        own = self.own[task.number]
        while own and self.begun[own[0]] and not self.left[own[0]]:
            own.pop(0)
        pack = next((pack for pack in own if not self.begun[pack]), None)
        if pack is None and self.spare:
            drawn = self.spare[chance.integers(len(self.spare))]
            pack = drawn if now + self.at_most[drawn] < task.limit else None
        task.pack, task.began = pack, now
        if pack is None:
            return None
        self.begun[pack] = True
        at, self.at[pack] = self.at[pack], None
        if at is not None:
            last = self.spare.pop()
            if last != pack:
                self.spare[at], self.at[last] = last, at
        return now + self.left[pack]

    def stop(self, task: Running) -> bool:
        """Take its pack, from its last state, from a task; return whether it has to come again."""
        self.times += task.stops < task.limit
        own, pack = self.own[task.number], task.pack
        if pack is not None:
            self.left[pack] -= (task.stops - task.began) // CHECKPOINT * CHECKPOINT
            self.begun[pack] = False  # and yet only its task takes it, and who has taken it from there
            if pack not in own:
                own.append(pack)
        return any(not self.begun[pack] for pack in own)


def simulated(spec: Spec, place: Slurm, at_most: float, spread: Spread) -> list[str]:
    """Plan the sweep as `relusweep run` does, and let the cluster train it; return a row of the table."""
    cost.probe = lambda runs, device: Cost(at_most / STEPS, 0.0)  # what a probe would say of such a GPU
    chance = np.random.default_rng(0)
    costs, bundles, real, longest = place.costs(spec.measure, None), list[Bundle](), list[float](), 0.0
    for pack in make_packs(spec.expand(), lambda run: place.pack_size(run, spec.measure, RATES * SEEDS)):
        bundles.append(Bundle(pack.id, len(pack.runs), len(pack.runs) * costs.of(pack.shape)))
        seconds = spread.seconds(pack, at_most, chance)
        longest = max(longest, seconds.max())
        real.append(seconds.sum())
    tasks, arrays = make_arrays(make_tasks(bundles, place.lengths, place.workers_a_job), MOST_TASKS)
    gpus = Cluster([task.packs for task in tasks], [bundle.seconds for bundle in bundles], real)
    shares = [share or GPUS for share in throttles(len(arrays), place.machine.max_array_tasks)]
    gpus.run(arrays, shares, place.machine.sure_seconds, chance)
    if any(gpus.left):
        raise SystemExit("the simulation is wrong: packs are left")
    last, bound = gpus.last, max(sum(real) / GPUS, longest)
    counts = (f"{count:,}" for count in (len(bundles), len(tasks), len(arrays), gpus.times))
    return [f"{at_most:g} s", *counts, f"{last / 3600:.2f} h", f"{bound / 3600:.2f} h", f"{last / bound:.3f}"]


def main() -> None:
    out = Console(width=110, highlight=False)
    out.print(pin())
    with tempfile.TemporaryDirectory() as folder:
        machine = Path(folder, "machine.toml")
        machine.write_text(MACHINE.format(gpus=GPUS), encoding="utf-8")
        sample, million = (read(Path(folder, "spec.toml"), seeds) for seeds in (SAMPLE_SEEDS, SEEDS))
        spread = measured(sample)
        shares = " ".join(f"{share.mean():.2f}" for share in spread.shares.values())
        out.print(f"share of their steps that runs take, by step size: {shares}")
        low, middle, high = np.quantile(spread.pace, [0, 0.5, 1])
        out.print(f"seconds of packs over those foretold: median {middle:.2f}, from {low:.2f} to {high:.2f}")
        table = Table("a run at most", "packs", "tasks", "arrays", "pre-empted", "makespan", "bound", "ratio")
        table.box = box.SIMPLE
        for at_most in map(float, sys.argv[1:] or ("10", "30", "100")):
            table.add_row(*simulated(million, Slurm(machine=machine), at_most, spread))
        out.print(table)


def read(path: Path, seeds: int) -> Spec:
    path.write_text(SPEC.format(steps=STEPS, rates=RATES, seeds=seeds), encoding="utf-8")
    return Spec.read(str(path))


if __name__ == "__main__":
    main()
