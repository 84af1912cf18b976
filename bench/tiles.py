"""Run-steps per second of the reference kernel against the number of runs that it advances together.

Few at a time pay for the calls of torch, many for main memory; `kernels/training/plain.py` takes what is best between.
"""

from collections.abc import Callable
from statistics import median
from types import SimpleNamespace

from pinned import interleaved, pin, spread
from rich import box
from rich.console import Console
from rich.table import Table
from throughput import Relusweep, make_runs

from relusweep.sweep.kernels.training import plain

RUNS, STEPS, REPETITIONS = 256, 25, 7
TILES = (1, 4, 16, 32, 64, 256)


def main() -> None:
    out = Console(width=110, highlight=False)
    out.print(pin())
    for dtype in ("float32", "float64"):
        runs = make_runs(RUNS, dtype)
        works: dict[str, Callable[[], None]] = {}
        for tile in TILES:
            kernel = SimpleNamespace(tile_size=lambda run, device, tile=tile: tile, advance=plain.advance)
            works[str(tile)] = Relusweep(runs, STEPS, kernel).advance
        seconds = interleaved(works, REPETITIONS)
        out.print(f"\n{dtype}: {RUNS} runs, medians of {REPETITIONS} repetitions of {STEPS} steps")
        table = Table("runs together", "run-steps/s", "spread", box=box.SIMPLE)
        for name, times in seconds.items():
            table.add_row(name, f"{RUNS * STEPS / median(times):,.0f}", spread(times))
        out.print(table)


if __name__ == "__main__":
    main()
