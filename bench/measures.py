"""What measuring costs over the training itself: at the end of every run, and at 20 moments of it.

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

from sweep.execute import execute
from sweep.pack import Pack
from sweep.run import Run
from sweep.spec import Measure
from sweep.train import Training

RUNS, STEPS, REPETITIONS = 64, 20_000, 3
CPU = torch.device("cpu")


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
            "training alone": lambda pack=pack: Training(pack, CPU).advance(STEPS, lambda: None),
            "with exams, measured at the end": lambda pack=pack: execute(pack, Measure(), CPU, "bench"),
            "and at 20 moments": lambda pack=pack: execute(pack, Measure(every="log:20"), CPU, "bench"),
        }
        seconds = interleaved(works, REPETITIONS)
        table = Table(dtype, "ms a run", "spread", "over training", box=box.SIMPLE)
        for name, times in seconds.items():
            over = f"{ratio(times, seconds['training alone']):.3f}"
            table.add_row(name, f"{1e3 * median(times) / RUNS:.1f}", spread(times), over)
        out.print(table)


if __name__ == "__main__":
    main()
