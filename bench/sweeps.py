"""Whole sweeps from the command line: start-up, what store and display cost, two cores against one, cost against size.

Shallow networks, d = 2, n = 128, width 64, full batch, float32. Programs have been compiled before: each sweep is first
run with a few steps. A sweep is a process of its own and its times are those on the wall, from before Python starts.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

LONG, LADDER, LADDER_STEPS = 100_000, (1000, 10_000, 100_000), 2000
SPEC = """
name = "sweep"
[fixed]
problem = "pyramid"
d = 2
n = 128
width = 64
dtype = "float32"
tolerance = 0.0
max_steps = {steps}
[[block]]
grid = {{ lr = {{ log = [0.05, 0.3, 10] }}, seed = {{ range = [0, {seeds}] }} }}
"""
# Runs the command line and tells when the kernel was called first, and the seconds inside the functions named below.
TIMED = """
import json, sys, time
import relusweep
import cluster.progress, sweep.execute, sweep.store
from sweep.kernels import fused

inside, first = {}, []

def timed(owner, name, group):
    function = getattr(owner, name)
    def call(*arguments, **options):
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            inside[group] = inside.get(group, 0.0) + time.perf_counter() - start
    setattr(owner, name, call)

def advance(*arguments, original=fused.advance):
    first.append(time.time())
    fused.advance = original
    original(*arguments)

fused.advance = advance
timed(sweep.store.Store, "write", "store")
timed(sweep.store.Store, "write_progress", "progress")
timed(cluster.progress.Display, "refresh", "progress")
timed(sweep.execute._Execution, "save", "states")
code = relusweep.main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump({"first": first[0], "inside": inside}, file)
sys.exit(code)
"""


def run(folder: Path, runs: int, steps: int, workers: int, *, timed: bool = False) -> dict:
    """Run a sweep of its own store; seconds on the wall, peak memory of its largest process, and what it tells."""
    spec = folder / "sweep.toml"
    spec.write_text(SPEC.format(steps=steps, seeds=runs // 10))
    store, told = Path(tempfile.mkdtemp(dir=folder)) / "store", folder / "told.json"
    arguments = ["run", str(spec), "--out", str(store), "--workers", str(workers)]
    before = [sys.executable, "-c", TIMED, str(told)] if timed else [sys.executable, "-m", "relusweep"]
    start = time.time()
    with (folder / "output").open("w") as output:
        subprocess.run([*before, *arguments], check=True, stdout=output, env=os.environ | {"PYTHONPATH": "."})
    seconds = time.time() - start
    found = json.loads(told.read_text()) if timed else {"first": start, "inside": {}}
    return {"seconds": seconds, "first": found["first"] - start, "inside": found["inside"]}


def main() -> None:
    out = Console(width=110, highlight=False)
    cores = sorted(os.sched_getaffinity(0))
    out.print(f"{len(cores)} cores, load before the start {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, 1000, 200, 1)
        os.sched_setaffinity(0, {cores[0]})
        start = min(run(folder, 10_000, 1, 1, timed=True)["first"] for _ in range(3))
        out.print(f"from the command to the first step of 10,000 runs, one core: {start:.2f} s")

        one = run(folder, 1000, LONG, 1, timed=True)
        shares = ", ".join(f"{group} {seconds / one['seconds']:.2%}" for group, seconds in one["inside"].items())
        out.print(f"1,000 runs of {LONG:,} steps, one core: {one['seconds']:.1f} s; of these {shares}")
        os.sched_setaffinity(0, set(cores))
        if len(cores) > 1:
            two = run(folder, 1000, LONG, 2)
            out.print(f"the same on two cores: {two['seconds']:.1f} s, {one['seconds'] / two['seconds']:.2f} × as fast")

        table = Table("runs", "seconds", "ms a run", "over that of the first", "peak of any process", box=box.SIMPLE)
        first = None
        for runs in LADDER:
            seconds = run(folder, runs, LADDER_STEPS, len(cores))["seconds"]
            first = first or seconds / runs
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of all sweeps until now
            over = f"{seconds / runs / first:.2f}"
            table.add_row(f"{runs:,}", f"{seconds:.1f}", f"{1e3 * seconds / runs:.2f}", over, f"{peak:.0f} MiB")
        out.print(f"{LADDER_STEPS:,} steps, {len(cores)} cores", table)


if __name__ == "__main__":
    main()
