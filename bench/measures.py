"""What convergence checks and measures cost over the steps alone: at the end of every run, and at 20 moments of it.

Shallow networks, d = 2, n = 128, width 64, full batch, 20,000 steps, step sizes from 0.05 to 0.6, so that data lie on
kinks as they do at the edge of stability. No run ends early.
"""

from statistics import median

import numpy as np
import torch
from pinned import interleaved, pin, ratio, spread
from rich import box
from rich.console import Console
from rich.table import Table

from relusweep.sweep.execute import execute
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.train import CHECK_STEPS, Training

RUNS, STEPS, REPETITIONS = 128, 20_000, 3
CPU = torch.device("cpu")


def train(pack: Pack) -> None:
    """Train to the last step; look every 200 steps whether runs have converged, as every sweep does."""
    training = Training(pack, CPU)
    while training.step < STEPS:
        training.advance(training.step + CHECK_STEPS, lambda: None)
        passes, diverged = training.check_convergence()
        training.go_on(torch.ones_like(diverged), passes)


def main() -> None:
    out = Console(width=110, highlight=False)
    out.print(pin())
    for dtype in ("float32", "float64"):
        fixed = {
            "problem": "pyramid",
            "d": 2,
            "n": 128,
            "width": 64,
            "max_steps": STEPS,
            "tolerance": 0.0,
            "dtype": dtype,
        }
        rates = np.geomspace(0.05, 0.6, RUNS).tolist()
        pack = Pack(tuple(Run.model_validate(fixed | {"lr": lr, "seed": seed}) for seed, lr in enumerate(rates)))
        works = {
            "steps alone": lambda pack=pack: Training(pack, CPU).advance(STEPS, lambda: None),
            "training, with its checks": lambda pack=pack: train(pack),
            "measured at the end": lambda pack=pack: execute(pack, Measure(), CPU, "bench"),
            "and at 20 moments": lambda pack=pack: execute(pack, Measure(every="log:20"), CPU, "bench"),
        }
        seconds = interleaved(works, REPETITIONS)
        table = Table(dtype, "ms a run", "spread", "over steps", "over training", box=box.SIMPLE)
        for name, times in seconds.items():
            over = [f"{ratio(times, seconds[base]):.3f}" for base in ("steps alone", "training, with its checks")]
            table.add_row(name, f"{1e3 * median(times) / RUNS:.1f}", spread(times), *over)
        out.print(table)


if __name__ == "__main__":
    main()
