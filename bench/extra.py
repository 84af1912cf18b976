"""What extra measures cost, over the largest eigenvalue alone: 256 trained networks of each size at once.

Shallow networks after 1000 steps on n = 64 samples: the sine in d = 1 with 16 units (p = 49), the pyramid in d = 2 with
64 units (p = 257), scikit-learn's digits with 16 units (p = 1057).
"""

from functools import partial
from statistics import median

import numpy as np
import torch
from pinned import interleaved, pin, ratio, spread
from rich import box
from rich.console import Console
from rich.table import Table

from relusweep.sweep.curvature import hessian_top
from relusweep.sweep.extra_measures import extra_measures
from relusweep.sweep.measure import end
from relusweep.sweep.measured import Measured
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.train import Training

NETWORKS, STEPS, REPETITIONS = 256, 1000, 5  # networks: as many as are measured together at most
CASES = {
    "p = 49": {"problem": "sine", "d": 1, "width": 16},
    "p = 257": {"problem": "pyramid", "d": 2, "width": 64},
    "p = 1057": {"problem": "digits", "width": 16},
}
ASKED = ("trace", "spectrum:5", "least_eigenvalue", "activation_rate", "parameter_l1", "distance", "residual_margin")


class Networks:
    """The trained networks of a case, out of their pack, as all measures share them; nothing is known of them yet."""

    def __init__(self, case: dict[str, object]) -> None:
        rates = np.geomspace(0.01, 0.3, NETWORKS).tolist()
        fixed = case | {"n": 64, "n_test": 0, "tolerance": 0.0}
        runs = [Run.model_validate(fixed | {"lr": lr, "seed": seed}) for seed, lr in enumerate(rates)]
        self.training = Training(Pack(tuple(runs)), torch.device("cpu"))
        self.training.advance(STEPS, lambda: None)

        self.lr = torch.tensor(rates, dtype=torch.float64)
        self.points = [self.training.point(slice(None)) for _ in range((2 + len(ASKED)) * (REPETITIONS + 1))]

    def end(self) -> object:
        return end(self.points.pop(), None, self.lr)

    def sharpness(self) -> object:
        return hessian_top(self.points.pop())

    def extra(self, name: str) -> object:
        return extra_measures(Measure(extra=(name,)), Measured(self.training.runs, self.points.pop()))


def main() -> None:
    out = Console(width=110, highlight=False)
    out.print(pin())
    for name, case in CASES.items():
        networks = Networks(case)
        works = {"sharpness": networks.sharpness, "all of a row": networks.end} | {
            asked: partial(networks.extra, asked) for asked in ASKED
        }
        seconds = interleaved(works, REPETITIONS)
        table = Table(name, "ms a network", "spread", "over sharpness", "over all of a row", box=box.SIMPLE)
        for what, times in seconds.items():
            over = [f"{ratio(times, seconds[base]):.3f}" for base in ("sharpness", "all of a row")]
            table.add_row(what, f"{1e3 * median(times) / NETWORKS:.4f}", spread(times), *over)
        out.print(table)


if __name__ == "__main__":
    main()
