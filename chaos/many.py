"""Many parts: scenes in a store with parts for each single run, of which some are left to train."""

import random
import shutil
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from chaos import faults
from chaos.scene import Scene
from chaos.stage import Maker, Stage, alone, has_own_disks
from chaos.sweep import Sweep, Sweeps
from relusweep.sweep.store.store import Store

PARTS = 1200
_SHORT = 20  # steps of the runs that are recorded
_LEFT = 60  # runs that are yet to be trained
_SPEC = f"""\
name = "many"
fixed = {{ problem = "sine", n = 8, d = 2, width = 4, n_test = 4, tolerance = 0.0 }}
[[block]]
fixed = {{ max_steps = {_SHORT} }}
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
    for row in pq.read_table(sweep.undisturbed / "runs").to_pylist():
        if row["max_steps"] == _SHORT:
            store.write(row["run_id"], {"runs": [row]}, {})


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
    share=0.05,
    faults_a_scene=5,
)
