"""A hundred thousand real runs on this machine: seconds, overhead a run, peak memory of the launcher and of its worker.

    python bench/many.py            100,000 runs of 200 steps, one worker, which is the launcher's own process
    python bench/many.py 10000 2    fewer, by two workers, which are processes of their own

Shallow networks, d = 2, n = 32, width 8, full batch, float32. Overhead is what is not training: from the command to its
end, less what the packs took by their own clock, a worker.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq

STEPS = 200
SPEC = """
name = "many"
[fixed]
problem = "pyramid"
d = 2
n = 32
n_test = 32
width = 8
dtype = "float32"
tolerance = 0.0
max_steps = {steps}
[[block]]
grid = {{ lr = {{ log = [0.05, 0.3, 10] }}, seed = {{ range = [0, {seeds}] }} }}
"""


def main() -> None:
    runs, workers = (*map(int, sys.argv[1:]), *(100_000, 1)[len(sys.argv) - 1 :])
    with tempfile.TemporaryDirectory() as folder:
        sweep(Path(folder, "warm"), 100, workers)  # compiles
        wall, processor, peaks, training = sweep(Path(folder, "store"), runs, workers)
    print(
        f"{runs:,} runs of {STEPS} steps, {workers} worker(s); load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    print(f"on the wall     {wall:9.1f} s, {1e3 * wall / runs:.3f} ms a run; of the processor {processor:.1f} s")
    print(f"in packs        {training:9.1f} s on the wall, from their data to their last measure")
    print(f"overhead        {1e3 * (wall - training) / runs:9.3f} ms a run on the wall, the start included")
    print(f"peak memory     {peaks[0]:9.0f} MiB of the launcher, {peaks[1]:.0f} MiB of the largest of its processes")


def sweep(store: Path, runs: int, workers: int) -> tuple[float, float, tuple[float, float], float]:
    """Run one; return seconds on the wall and of processors, peaks in MiB, and the seconds that packs took a worker."""
    spec = store.with_suffix(".toml")
    spec.write_text(SPEC.format(steps=STEPS, seeds=runs // 10), encoding="utf-8")
    command = [sys.executable, "-m", "relusweep", "run", str(spec), "--out", str(store), "--workers", str(workers)]
    start, before = time.monotonic(), os.times()
    process = psutil.Popen(command, stdout=-3)
    own, others = 0.0, 0.0
    while process.poll() is None:
        own = max(own, peak(process))
        others = max([others, *map(peak, children(process))])
        time.sleep(0.2)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}")
    wall, after = time.monotonic() - start, os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    parts = [pq.read_table(part, columns=["seconds"])["seconds"].to_numpy() for part in store.glob("runs/*.parquet")]
    return wall, processor, (own, others), float(sum(part.sum() for part in parts)) / workers


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def peak(process: psutil.Process) -> float:
    """Return the most memory that a process has had, in MiB, as the kernel counts it; 0 of one that is gone."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    main()
