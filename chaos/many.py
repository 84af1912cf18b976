"""Many parts: scenes in stores with a part for each single run, of which some are left to train."""

import random
import shutil
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path

import pyarrow.parquet as pq

from chaos import faults
from chaos.scene import Scene
from chaos.stage import Fault, Maker, Stage, alone, has_own_disks
from chaos.sweep import Sweep, Sweeps
from relusweep.sweep.store.store import Store

FEW, MANY = 1200, 10_000  # as many as can be compacted meanwhile; and far more
_SHORT = 20  # steps of the runs that are recorded
_LEFT = 60  # runs that are yet to be trained
_SPEC = f"""\
name = "many"
fixed = {{ problem = "sine", n = 8, d = 2, width = 4, n_test = 4, tolerance = 0.0 }}
[[block]]
fixed = {{ max_steps = {_SHORT} }}
grid = {{ lr = [0.1], seed = {{ range = [0, %d] }} }}
[[block]]
fixed = {{ max_steps = 40_000 }}
grid = {{ lr = [0.05], seed = {{ range = [0, {_LEFT}] }} }}
"""


class ManyParts(Scene):
    """A store of many parts, copied to the scene's disk."""

    megabytes = 2000
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


def _opened(folder: Path, sweeps: Sweeps, parts: int) -> AbstractContextManager[Maker]:
    template, own_disks = folder / f"template-{parts}", has_own_disks(folder)

    @cache  # for the first scene, while others are played
    def ready() -> Sweep:
        sweep = sweeps.trained(f"many-{parts}", _SPEC % parts)
        split(sweep, template)
        return sweep

    def make(place: Path, chance: random.Random) -> Scene:
        sweep = ready()
        scene = ManyParts(place, sweep, chance, own_disks)
        scene.template = template
        return scene

    return alone(make)


_KILLS: dict[str, Fault] = {
    "kill -9 of everything": partial(faults.killed, workers=2, pick="all"),
    "kill -9 of a worker": partial(faults.killed, workers=2, pick="worker"),
    "two launchers, one killed": partial(faults.two, within=(), kill=True),
}
_COMPACTIONS: dict[str, Fault] = {
    "compaction meanwhile, killed": faults.compacted,
    "compaction meanwhile": partial(faults.compacted, kill=False),
}
STAGE = Stage(_KILLS | _COMPACTIONS, partial(_opened, parts=FEW), share=0.03, faults_a_scene=5)
VERY_MANY = Stage(_KILLS, partial(_opened, parts=MANY), share=0.01, faults_a_scene=1)
