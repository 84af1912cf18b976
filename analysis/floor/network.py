"""Network: a shallow ReLU network in plain numbers, built from the units of a dictionary."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from relusweep.analysis.floor.arrangement import Indices
from relusweep.analysis.floor.dictionary import Dictionary
from relusweep.sweep.data import Array

_TILT = 1e-9  # change of a unit's outputs, relative to the largest, that takes data off its kink


@dataclass(frozen=True)
class Network:
    """f(x) = Σ w2_i σ(w1_i·x + b1_i) + b2, with w1 (k, d), b1 and w2 (k,)."""

    w1: Array
    b1: Array
    w2: Array
    b2: float

    def __call__(self, x: Array) -> Array:
        """Compute f at x (n, d)."""
        return np.maximum(x @ self.w1.T + self.b1, 0) @ self.w2 + self.b2


def assemble(dictionary: Dictionary, units: Indices, amplitudes: Array, affine: Array) -> Network:
    """Build Σ amplitude · unit + affine, with no data on kinks.

    A unit's hyperplane is tilted a little, so that its data lie on the sides that its cost counts on. An affine part
    v·x + c that costs nothing is σ(v·x + β) - σ(-v·x - β) + c - β, with one unit active on all data and one on none.

    Args:
        dictionary: Where the units are from.
        units: Their indices.
        amplitudes: Output weight of each.
        affine: What is free, as coefficients of the dictionary's `free` columns.

    Returns:
        The network: a unit of it for each of these, and two more where the affine part is not constant.
    """
    points = dictionary.arrangement.points
    plane, sign = dictionary.plane[units], dictionary.sign[units, None]
    rows = np.hstack([dictionary.arrangement.w[plane] * sign, dictionary.arrangement.b[plane, None] * sign])
    rows += [_tilt(dictionary, int(unit), row) for unit, row in zip(units, rows, strict=True)] if len(units) else 0
    *v, c = affine
    if not np.any(v):
        return Network(rows[:, :-1], rows[:, -1], amplitudes, float(c))
    c -= points.mean(0) @ v
    shift = 1 + np.abs(points @ v).max()
    pair = np.array([[*v, shift], [*np.negative(v), -shift]])
    rows = np.vstack([rows, pair])
    return Network(rows[:, :-1], rows[:, -1], np.append(amplitudes, [1.0, -1.0]), float(c - shift))


def _tilt(dictionary: Dictionary, unit: int, row: Array) -> Array:
    """Find a small change of (w, b) that gives the points on a hyperplane their sides and leaves the others theirs."""
    points = dictionary.arrangement.points
    n, d = points.shape
    on = dictionary.arrangement.choices(int(dictionary.plane[unit]))[0]
    centre = points.mean(0)
    spread = np.abs(points - centre).max()
    marks = np.hstack([(points - centre) / spread, np.ones((n, 1))])
    side = np.where(dictionary.active(unit)[on], 1.0, -1.0)[:, None]
    # the least t such that a tilt with coefficients within ±t moves each of these points by 1 or more to its side
    unity, ones = np.eye(d + 1), np.ones((d + 1, 1))
    rows = np.block([[-side * marks[on], np.zeros((len(on), 1))], [unity, -ones], [-unity, -ones]])
    limits = np.append(-np.ones(len(on)), np.zeros(2 * d + 2))
    tilt = linprog(np.eye(d + 2)[-1], rows, limits, bounds=(None, None)).x[:-1]
    z = np.abs(points @ row[:-1] + row[-1])
    room = np.delete(z, on).min(initial=np.inf) / 2
    tilt *= min(_TILT * z.max(), room) / np.abs(marks @ tilt).max()
    w = tilt[:-1] / spread
    return np.append(w, tilt[-1] - w @ centre)
