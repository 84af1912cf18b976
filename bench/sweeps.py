"""Whole sweeps from the command line: start-up, what store and display cost, two cores against one, cost against size.

Shallow networks, d = 2, n = 128, width 64, full batch, float32. Programs have been compiled before: each sweep is first
run with a few steps. A sweep is a process of its own and its times are those on the wall, from before Python starts.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

LONG, LADDER, LADDER_STEPS = 30_000, (1000, 10_000, 100_000), 2000
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
from relusweep.cli import main
from relusweep.cluster.progress import Display
from relusweep.sweep.execute import _Execution
from relusweep.sweep.kernels.training import fused
from relusweep.sweep.store.store import Store

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
timed(Store, "write", "store")
timed(Store, "write_progress", "progress")
timed(Display, "refresh", "progress")
timed(_Execution, "save", "states")
code = main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump({"first": first[0], "inside": inside}, file)
sys.exit(code)
"""


def run(folder: Path, runs: int, steps: int, workers: int, *, timed: bool = False) -> dict:
    """Run a sweep of its own store; return the seconds on the wall, and the most memory of its processes together."""
    spec = folder / "sweep.toml"
    spec.write_text(SPEC.format(steps=steps, seeds=runs // 10))
    store, timings = Path(tempfile.mkdtemp(dir=folder)) / "store", folder / "timings.json"
    arguments = ["run", str(spec), "--out", str(store), "--workers", str(workers)]
    before = [sys.executable, "-c", TIMED, str(timings)] if timed else [sys.executable, "-m", "relusweep"]
    start, peak, first = time.time(), 0, 0.0
    with (folder / "output").open("w") as output:
        process = psutil.Popen([*before, *arguments], stdout=output, env=os.environ | {"PYTHONPATH": "."})
        while process.poll() is None:
            if not first and any((store / "progress").glob("*.json")):
                first = time.time()
            peak = max(peak, memory(process)) if first else 0
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(1 if first else 0.01)
    assert process.returncode == 0
    found = json.loads(timings.read_text()) if timed else {"first": first, "inside": {}}
    return {"seconds": time.time() - start, "first": found["first"] - start, "inside": found["inside"], "peak": peak}


def memory(process: psutil.Process) -> int:
    """Count the bytes that a process and its descendants have to themselves, or share of what they share."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for each in (process, *process.children(recursive=True)):
            total += each.memory_full_info().pss
    return total


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

        os.sched_setaffinity(0, set(cores))
        first = min(run(folder, 10_000, 200, len(cores))["first"] for _ in range(3))
        out.print(f"to the first progress of {len(cores)} workers on as many cores, after 200 steps: {first:.2f} s")
        os.sched_setaffinity(0, {cores[0]})

        one = run(folder, 1000, LONG, 1, timed=True)
        shares = ", ".join(f"{group} {seconds / one['seconds']:.2%}" for group, seconds in one["inside"].items())
        out.print(f"1,000 runs of {LONG:,} steps, one core: {one['seconds']:.1f} s; of these {shares}")
        os.sched_setaffinity(0, set(cores))
        if len(cores) > 1:
            two = run(folder, 1000, LONG, 2)
            out.print(f"the same on two cores: {two['seconds']:.1f} s, {one['seconds'] / two['seconds']:.2f} × as fast")

        table = Table("runs", "seconds", "ms a run", "over that of the first", "memory at most", box=box.SIMPLE)
        first = None
        for runs in LADDER:
            found = run(folder, runs, LADDER_STEPS, len(cores))
            seconds, peak = found["seconds"], found["peak"] / 2**20
            first = first or seconds / runs
            over = f"{seconds / runs / first:.2f}"
            table.add_row(f"{runs:,}", f"{seconds:.1f}", f"{1e3 * seconds / runs:.2f}", over, f"{peak:.0f} MiB")
        out.print(f"{LADDER_STEPS:,} steps, {len(cores)} cores", table)


if __name__ == "__main__":
    main()
