"""Regimes: networks at many points of their training, of whose matrices a wrong eigenvector may look right."""

import itertools
import random

import torch

from relusweep.sweep.model import gradient
from relusweep.sweep.point import Point
from tests.sweep.cases import networks

AT_ONCE = 108

# Each regime is one way to make a matrix of which a wrong eigenvector looks right.
SHAPES = [
    {"depth": 1, "width": 40, "d": 1},
    {"depth": 1, "width": 24, "d": 2},
    {"depth": 1, "width": 4, "d": 17},
    {"depth": 2, "width": 7, "width2": 6, "d": 1},
]
RESIDUALS = (0.0, 1.0, 30.0, 1000.0)  # scale of the labels
STEPS = (0, 1, 30, 300)
REGIMES = list(itertools.product(SHAPES, (True, False, "hidden"), RESIDUALS, STEPS))


def point(shape, bias, scale, steps, seed, n=17, count=AT_ONCE):
    """Networks of a regime: every second has a twin's data, mirrored or nearly so, where its halves are uncoupled."""
    drawn = random.Random(seed)
    leaky, near = drawn.random() < 0.5, drawn.choice([0.0, 1e-9, 1e-4, 1e-2])
    case = shape | {"n": n, "bias": bias, "init": "pytorch", "activation": "leaky_relu" if leaky else "relu"}
    _, architecture, theta, x, y, slope = networks(case, count, seed)
    half = n // 2
    x[::2, half : 2 * half] = -x[::2, :half] * (1 + near)
    y *= scale
    inputs = torch.cat([x, torch.ones_like(x[..., :1])], -1) if bias else x  # of hidden units, or of all
    for _ in range(steps):
        theta = theta - 1e-2 / (1 + scale) * gradient(architecture, theta, inputs, y, slope)[0]
    return Point(architecture, theta, inputs, y, slope)


def dense(at: Point, product) -> torch.Tensor:
    """The matrices, column by column."""
    unit, image = torch.eye(at.architecture.count, dtype=torch.float64), product(at)
    return torch.stack([image(e.expand(len(at.theta), -1)) for e in unit], -1)
