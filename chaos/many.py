"""Many parts: scenes in a store whose runs are recorded one by one, each in parts of its own, and some are left to train."""

import random
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from chaos import faults
from chaos.scene import Scene
from chaos.stage import Maker, Stage, alone, has_own_disks
from chaos.sweep import Sweep, Sweeps
from relusweep.sweep.store.store import Store

PARTS = 1200  # of runs, and as many of moments and of weights
_LEFT = 60  # runs that are yet to be trained
_SPEC = f"""\
name = "many"
fixed = {{ problem = "sine", n = 8, d = 2, width = 4, n_test = 4, tolerance = 0.0 }}
[measure]
every = "log:1"
save_weights = true
[[block]]
fixed = {{ max_steps = 20 }}
grid = {{ lr = [0.1], seed = {{ range = [0, {PARTS}] }} }}
[[block]]
fixed = {{ max_steps = 40_000 }}
grid = {{ lr = [0.05], seed = {{ range = [0, {_LEFT}] }} }}
"""


class ManyParts(Scene):
    """A store of many parts, copied to the scene's disk."""

    megabytes = 500
    template: Path

    def begin(self) -> None:
        """Have something to train."""
        super().begin()
        if not self.store.exists():
            shutil.copytree(self.template, self.store)


def split(sweep: Sweep, template: Path) -> None:
    """Record what a sweep recorded of its short runs anew, run by run."""
    store = Store.create(template)
    tables = {name: dict(_by_run(sweep.undisturbed / name)) for name in faults.TABLES}
    for run_id, rows in tables["runs"].items():
        if rows[0]["max_steps"] == 20:
            store.write(run_id, {name: of_run[run_id] for name, of_run in tables.items() if run_id in of_run}, {})


def _by_run(table: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    rows = pq.read_table(table, partitioning=None).to_pylist()
    for run_id, found in groupby(sorted(rows, key=lambda row: row["run_id"]), key=lambda row: row["run_id"]):
        yield run_id, list(found)


def _opened(folder: Path, sweeps: Sweeps) -> AbstractContextManager[Maker]:
    sweep, template, own_disks = sweeps.trained("many", _SPEC), folder / "template", has_own_disks(folder)
    split(sweep, template)

    def make(place: Path, chance: random.Random) -> Scene:
        scene = ManyParts(place, sweep, chance, own_disks)
        scene.template = template
        return scene

    return alone(make)


STAGE = Stage(
    {
        "kill -9 of everything": partial(faults.killed, workers=2, pick="all"),
        "kill -9 of a worker": partial(faults.killed, workers=2, pick="worker"),
        "two launchers, one killed": partial(faults.two, within=(), kill=True),
        "compaction meanwhile, killed": faults.compacted,
        "compaction meanwhile": partial(faults.compacted, kill=False),
    },
    _opened,
    share=0.06,
    faults_a_scene=5,
)
