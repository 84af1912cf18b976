"""What 2,000 short runs cost on SLURM besides their training, against one job a run, as one would submit them by hand.

Both ways run on the same real cluster: that of the tests, with one node that has the cores which this process may use.
The naive way is a function that trains one torch module, submitted for each run by submitit's `map_array`; its data and
weights come with it, so that all it loads is torch. It is timed on 40 runs: 2,000 would take hours.

Overhead of a run = (seconds from the command to its end × cores − seconds of training) / runs. Training is what the
rows say, measures included, and what the naive function says of its loop. All else counts: launcher, scheduler, start
of Python, imports, and cores that stand idle meanwhile.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import numpy as np
import submitit
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from relusweep.sweep.data import dataset
from relusweep.sweep.model import Architecture, initial_parameters
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store

sys.path += [str(Path(__file__).parents[1])]
from tests.cluster.slurm.cluster import Cluster, lacking

NAIVE = 40
SPEC = """
name = "short"
[fixed]
problem = "pyramid"
d = 2
n = 128
width = 64
max_steps = 2000
tolerance = 0.0
[[block]]
grid = { lr = { log = [0.01, 0.3, 20] }, seed = { range = [0, 100] } }
"""


def main() -> None:
    if programs := lacking():
        sys.exit(f"no {', '.join(programs)} on this machine: nothing to measure. apt install slurm-wlm munge")
    cores = len(os.sched_getaffinity(0))
    out = Console(width=110, highlight=False)
    with Cluster(nodes=1, gpus=0, cpus=cores) as cluster, tempfile.TemporaryDirectory() as folder:
        os.environ.update(cluster.environment)
        load = os.getloadavg()[0]
        out.print(
            f"{cluster.run('sinfo', '--version')}, {cores} core(s), {date.today()}, load before the start {load:.1f}"
        )
        spec = Path(folder, "short.toml")
        spec.write_text(SPEC, encoding="utf-8")
        runs = list(Spec.read(str(spec)).expand())
        tasks, wall, training, besides = packed(cluster, spec, cores)
        ours = (wall * cores - training) / len(runs)
        table = Table("", "runs", "jobs for 2,000", "seconds", "training", "overhead, ms a run", box=box.SIMPLE)
        table.add_row(
            "relusweep", f"{len(runs):,}", f"{tasks:,}", f"{wall:.1f}", f"{training:.1f}", f"{1e3 * ours:.1f}"
        )
        wall, training = one_by_one(runs[:: len(runs) // NAIVE], cores, Path(folder, "naive"))
        naive = (wall * cores - training) / NAIVE
        table.add_row("one job a run", str(NAIVE), "2,000", f"{wall:.1f}", f"{training:.1f}", f"{1e3 * naive:.1f}")
    out.print(table)
    out.print(
        f"× fewer jobs: {len(runs) / tasks:,.0f} (goal: 50); × less overhead a run: {naive / ours:,.0f} (goal: 20)"
    )
    out.print(f"a task lasts {besides:.1f} s besides its training")


def packed(cluster: Cluster, spec: Path, cores: int) -> tuple[int, float, float, float]:
    """Train all runs by `relusweep run`; return tasks, seconds, those of training, and a task's besides."""
    machine, store = spec.with_name("machine.toml"), spec.with_name("store")
    machine.write_text(f"partition = 'main'\ncpus_per_task = {cores}\ntime = '60'\nmax_array_tasks = 1\n")
    asked = [str(spec), "--on", "slurm", "--machine", str(machine), "--out", str(store)]
    relusweep("plan", *asked)  # compiles the kernel, which happens once a machine
    start = time.monotonic()
    relusweep("run", *asked)
    wall = time.monotonic() - start
    spans = [line.split() for line in cluster.run("squeue", "-h", "-r", "-t", "all", "-o", "%S %e").splitlines()]
    lasted = sum((datetime.fromisoformat(end) - datetime.fromisoformat(begin)).seconds for begin, end in spans)
    training = sum(Store.open(store).read("runs", ["seconds"])[0]["seconds"].to_pylist())
    return len(spans), wall, training, (lasted - training / cores) / len(spans)


def relusweep(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "relusweep", *arguments], check=True, stdout=subprocess.DEVNULL)


def one_by_one(runs: Sequence[Run], cores: int, folder: Path) -> tuple[float, float]:
    """Train each run by a job of its own; return the seconds, and those of training."""
    start = time.monotonic()
    executor = submitit.AutoExecutor(folder, cluster="slurm")
    executor.update_parameters(
        timeout_min=60, cpus_per_task=1, slurm_partition="main", slurm_array_parallelism=cores, slurm_wckey=None
    )
    data = [dataset(run.model_dump()) for run in runs]
    rates, steps = [run.lr for run in runs], [run.max_steps for run in runs]
    jobs = executor.map_array(
        train, [each.x for each in data], [each.y for each in data], map(weights, runs), rates, steps
    )
    while not all(job.paths.result_pickle.exists() for job in jobs):  # `result` looks once a second, and asks sacct
        time.sleep(0.1)
    return time.monotonic() - start, sum(job.result() for job in jobs)


def weights(run: Run) -> list[np.ndarray]:
    named = Architecture.of(run).named(torch.from_numpy(initial_parameters(run))[None])
    return [weight[0].numpy() for weight in named.values()]


def train(x: np.ndarray, y: np.ndarray, start: Sequence[np.ndarray], lr: float, steps: int) -> float:
    """Train one network as one does without relusweep; return the seconds of the loop."""
    torch.set_num_threads(1)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)[:, None]
    width, d = start[0].shape
    module = torch.nn.Sequential(torch.nn.Linear(d, width), torch.nn.ReLU(), torch.nn.Linear(width, 1)).double()
    flat = torch.from_numpy(np.concatenate([weight.ravel() for weight in start]))
    torch.nn.utils.vector_to_parameters(flat, module.parameters())
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    begun = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = 0.5 * (module(inputs) - targets).square().mean()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
