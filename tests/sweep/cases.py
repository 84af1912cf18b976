"""Networks of every kind, with random weights and data."""

import numpy as np
import torch

from relusweep.sweep.model import Architecture, initial_parameters, with_ones
from relusweep.sweep.point import Point
from relusweep.sweep.run import Run

CASES = [
    {"depth": depth, "bias": bias, "activation": activation, "width": 5, "d": d, "n": 7}
    for depth in (1, 2)
    for bias in (True, False, "hidden")
    for activation in ("relu", "leaky_relu")
    for d in (1, 3)
] + [{"width": 1, "n": 1, "d": 1}]


def networks(case, count=3, seed=0):
    """Random parameters of a few networks of this shape, with inputs and targets of each."""
    runs = [
        Run.model_validate({"problem": "sine", "lr": 0.1, "init": "normal", "seed": s} | case) for s in range(count)
    ]
    theta = torch.from_numpy(np.stack([initial_parameters(run) for run in runs]))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, runs[0].n, runs[0].d, dtype=torch.float64, generator=generator)
    y = torch.randn(count, runs[0].n, dtype=torch.float64, generator=generator)
    slope = None
    if runs[0].activation == "leaky_relu":
        slope = torch.linspace(0, 0.5, count, dtype=torch.float64)[:, None, None]
    return runs, Architecture.of(runs[0]), theta, x, y, slope


def point_of(case, count=3, seed=0, *, shared=False):
    """The networks' runs, their inputs without the column of ones, and all as a point."""
    runs, architecture, theta, x, y, slope = networks(case, count, seed)
    x = x[0] if shared else x
    return runs, x, Point(architecture, theta, with_ones(x, runs[0].bias), y, slope)
