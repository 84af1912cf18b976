"""What a run costs on Ray besides its training: packs as trials of Tune, against one trial a run as one would write it.

All contenders use the same Ray of this machine, which is up before any is timed, and train each run by the same kernel,
so that they differ in what they hand out and how. relusweep is timed from the command to its end, start of Python and
reading of the spec included; the others from `Tuner.fit` to its end, in a process that is connected already. Those are
timed on fewer trials: a thousand would take minutes.

The memory of the driver is that of a launcher's process while packs of one run each pass through it.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from relusweep.cluster.backend import Assignment, backend
from relusweep.sweep.execute import execute
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure, Spec
from relusweep.sweep.store.store import Store

sys.path += [str(Path(__file__).parents[1])]
from tests.cluster.ray.cluster import Cluster

REUSED, DEFAULT = 200, 40  # trials of the naive ways
PACKS = 1500
SPEC = """
name = "short"
[fixed]
problem = "pyramid"
d = 2
n = 128
width = 64
max_steps = 200
tolerance = 0.0
[[block]]
grid = {{ lr = {{ log = [0.01, 0.3, 20] }}, seed = {{ range = [0, {seeds}] }} }}
"""


def main() -> None:
    out, cores = Console(width=110, highlight=False), len(os.sched_getaffinity(0))
    cluster = Cluster(cores)
    os.environ |= cluster.environment
    import ray

    try:
        load = os.getloadavg()[0]
        out.print(f"Ray {ray.__version__}, {cores} core(s), {date.today()}, load before the start {load:.1f}")
        with tempfile.TemporaryDirectory() as folder:
            table = Table("", "runs", "seconds", "ms a run", "files for 1,000 runs", box=box.SIMPLE)
            each: dict[str, float] = {}
            starts: list[tuple[int, float]] = []
            for name, work in contenders(Path(folder)).items():
                count, seconds, files = work()
                each[name] = seconds / count
                starts.append((count, seconds))
                row = f"{count:,}", f"{seconds:.1f}", f"{1e3 * each[name]:.2f}", f"{files * 1000 / count:,.0f}"
                table.add_row(name, *row)
            out.print(table)
            first, *_, reused, default = each
            out.print(f"× less a run than with reused actors: {each[reused] / each[first]:.0f} (goal: 100)")
            out.print(f"× less a run than with Tune's defaults: {each[default] / each[first]:.0f}")
            (few, start), (many, end) = starts[:2]
            further = (end - start) / (many - few)
            out.print(f"each run after the first {few:,}: {1e3 * further:.2f} ms, × {each[reused] / further:.0f} less")
            with ProcessPoolExecutor(1, get_context("spawn")) as own:  # what Tune freed here would hide what it takes
                grown = own.submit(driver_memory, Path(folder, "memory")).result()
            marks = ", ".join(f"{packs:,}: {size / 2**20:.0f} MiB" for packs, size in grown.items())
            growth = (grown[max(grown)] - grown[min(grown)]) / (max(grown) - min(grown)) * 1000 / 2**20
            out.print(f"memory of the driver after packs: {marks}; it grows by {growth:.0f} MiB in 1,000 packs")
    finally:
        ray.shutdown()  # before what it is connected to ends
        cluster.close()


def contenders(folder: Path) -> dict[str, Callable[[], tuple[int, float, int]]]:
    """Return what is timed, by name: runs, seconds, files written."""
    return {
        "relusweep, 1,000 runs": lambda: packed(folder / "1", 50),
        "relusweep, 20,000 runs": lambda: packed(folder / "20", 1000),
        "one trial a run, actors reused": lambda: tuned(folder / "reused", REUSED, reuse=True),
        "one trial a run, Tune's defaults": lambda: tuned(folder / "default", DEFAULT, reuse=False),
    }


def runs_of(folder: Path, seeds: int) -> tuple[Path, list[Run]]:
    folder.mkdir()
    spec = folder / "short.toml"
    spec.write_text(SPEC.format(seeds=seeds), encoding="utf-8")
    return spec, list(Spec.read(str(spec)).expand())


def packed(folder: Path, seeds: int) -> tuple[int, float, int]:
    spec, runs = runs_of(folder, seeds)
    store = folder / "store"
    start = time.monotonic()
    command = [sys.executable, "-m", "relusweep", "run", str(spec), "--on", "ray", "--out", str(store)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return len(runs), time.monotonic() - start, sum(path.is_file() for path in store.rglob("*"))


def tuned(folder: Path, count: int, *, reuse: bool) -> tuple[int, float, int]:
    """Train by trials of one run each: as a class that can be reset, or as a function."""
    import ray
    from ray import tune

    runs = runs_of(folder, 50)[1][:count]

    class Trial(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.run = config["run"]

        def step(self) -> dict[str, Any]:
            return {"loss": trained(self.run), "done": True}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.run = new_config["run"]
            return True

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": trained(config["run"])})

    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level="ERROR")
    tuner = tune.Tuner(
        Trial if reuse else trial,
        param_space={"run": tune.grid_search([run.model_dump() for run in runs])},
        tune_config=tune.TuneConfig(reuse_actors=reuse),
        run_config=tune.RunConfig(
            storage_path=str(folder / "tune"),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a class would have to write some
            verbose=0,
        ),
    )
    start = time.monotonic()
    results = tuner.fit()
    seconds = time.monotonic() - start
    if results.num_errors:
        sys.exit(f"{results.num_errors} trials of one run failed: {results.errors[0]}")
    return len(runs), seconds, sum(path.is_file() for path in (folder / "tune").rglob("*"))


def trained(run: dict[str, Any]) -> float:
    tables = execute(Pack((Run.model_validate(run),)), Measure(), torch.device("cpu"), "bench")
    return tables["runs"]["loss"][0].as_py()


def driver_memory(folder: Path) -> dict[int, int]:
    """Hand packs of one run each through a launcher; return its resident bytes after every 500."""
    _, runs = runs_of(folder, PACKS // 20)
    store = Store.create(folder / "store")
    seen: dict[int, int] = {}
    packs = (Pack((run,)) for run in runs)
    for done, _ in enumerate(
        backend("ray", None).train(Assignment(store.path, Measure(), "ray", 3600.0), packs, lambda: None), 1
    ):
        if done % 500 == 0:
            seen[done] = psutil.Process().memory_info().rss
    return seen


if __name__ == "__main__":
    main()
