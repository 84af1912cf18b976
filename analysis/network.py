"""Network: a shallow ReLU network in plain numbers, built from the units of a dictionary."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from analysis.arrangement import Array, Flags
from analysis.dictionary import Dictionary

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


def assemble(dictionary: Dictionary, units: NDArray[np.intp], amplitudes: Array, affine: Array) -> Network:
    """Build Σ amplitude · unit + affine, with no data on kinks.

    A unit's hyperplane is tilted a little, so that its data lie on the sides that its cost counts on. An affine part
    v·x + c that costs nothing is σ(v·x + β) - σ(-v·x - β) + c - β, with one unit active on all data and one on none.

    Args:
        dictionary: Where the units are from.
        units: Their indices.
        amplitudes: Output weight of each.
        affine: What is free, as coefficients of the dictionary's `free` columns.
    """
    points = dictionary.arrangement.points
    plane, sign = dictionary.plane[units], dictionary.sign[units, None]
    rows = np.hstack([dictionary.arrangement.w[plane] * sign, dictionary.arrangement.b[plane, None] * sign])
    for row, unit in zip(rows, units, strict=True):
        on = np.flatnonzero(dictionary.outputs(np.array([unit]))[0] == 0)
        z = points @ row[:-1] + row[-1]
        on = dictionary.arrangement.choices(int(dictionary.plane[unit]))[0]
        row += _tilt(points, z, on, dictionary.active(int(unit))[on])
    *v, c = affine
    if not np.any(v):
        return Network(rows[:, :-1], rows[:, -1], amplitudes, float(c))
    shift = 1 + np.abs(points @ v).max()
    pair = np.array([[*v, shift], [*np.negative(v), -shift]])
    rows = np.vstack([rows, pair])
    return Network(rows[:, :-1], rows[:, -1], np.append(amplitudes, [1.0, -1.0]), float(c - shift))


def _tilt(points: Array, z: Array, on: NDArray[np.intp], active: Flags) -> Array:
    """Find a small change of (w, b) that gives the points on a hyperplane their sides and leaves the others theirs."""
    n, d = points.shape
    centre, spread = points.mean(0), np.abs(points - points.mean(0)).max()
    marks = np.hstack([(points - centre) / spread, np.ones((n, 1))])
    side = np.where(active, 1.0, -1.0)[:, None]
    limit = np.ones((len(on), 1))  # minimise the largest coefficient t of a tilt that moves each point by 1 or more
    bound = np.vstack([np.hstack([np.eye(d + 1), -np.ones((d + 1, 1))]), np.hstack([-np.eye(d + 1), -np.ones((d + 1, 1))])])
    found = linprog(
        np.eye(d + 2)[-1],
        np.vstack([np.hstack([-side * marks[on], 0 * limit]), bound]),
        np.append(-limit, np.zeros(2 * d + 2)),
        bounds=(None, None),
    )
    change = found.x[:-1]
    moved = np.abs(marks @ change).max()
    others = np.delete(np.abs(z), on)
    size = min(_TILT * np.abs(z).max(), others.min(initial=np.inf) / 2) / moved
    w = change[:-1] / spread
    return size * np.append(w, change[-1] - w @ centre)
