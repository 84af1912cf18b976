"""Dictionary: the ReLU units that suffice to build any shallow network on given data, and what each costs.

A unit σ(w·x + b) has on data x_1 … x_n, with z = w·x + b, all homogeneous in (w, b) and so in no need of unit normals,

    g̃(w, b) = mean σ(z) · ‖mean 1{z>0} (x, 1)‖           oriented stability norm S̃ = Σ |a| g̃(w, b)
    g(w, b)  = min(g̃(w, b), g̃(-w, -b))                    stability norm           S  = Σ |a| g(w, b)
    G(w, b)  = √(mean σ(z)² · mean 1{z>0} (1 + ‖x‖²))     sufficient norm          S_G = Σ |a| G(w, b)

[Nacson et al. 2023; S_G derived here: 1 + 2 S_G is the trace of Gauss–Newton after balancing.] On the cell of one
split of the data the outputs σ(z_j), g̃ and either branch of g are linear in (w, b). Hence for any weights v on the data
the largest |Σ_j v_j σ(z_j)| / cost is met on an extreme ray: at a hyperplane through d data points, with these points
counted on either side as a tilt may put them. And a unit within a cell is a sum of those on its rays, at no lower cost.
So these finitely many units do for all. (Units active on all data or on none have g = 0: affine functions are free, and
v must be orthogonal to them.) G is not linear on a cell: its units here build networks, but others may be cheaper. What
is linear, and a lower bound for all of them, is `sufficient_below`, mean σ(z) · √(1 + mean_{z>0} ‖x‖²) ≤ G.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from relusweep.analysis.floor.arrangement import Arrangement, Flags, Indices, blocks
from relusweep.sweep.data import Array

Norm = Literal["stability", "oriented_stability", "sufficient", "sufficient_below"]


@dataclass(frozen=True)
class Dictionary:
    """Units of positive cost: each a hyperplane, an orientation and the points on it that count as active.

    Attributes:
        norm: What is charged.
        arrangement: The hyperplanes.
        plane: Hyperplane of each unit (N,).
        sign: Orientation of each unit, ±1 (N,).
        choice: Which of its hyperplane's ways to tilt the unit takes, in the hyperplane's own orientation (N,).
        cost: What a unit of amplitude 1 adds to the norm (N,).
    """

    norm: Norm
    arrangement: Arrangement
    plane: Indices
    sign: Indices
    choice: Indices
    cost: Array

    @staticmethod
    def of(points: Array, norm: Norm) -> "Dictionary":
        """Enumerate and price the units on points (n, d).

        Raises:
            ArrangementError: if there are too many hyperplanes.
        """
        arrangement = Arrangement.of(points)
        pieces = [_priced(arrangement, rows, norm) for rows in blocks(len(arrangement), len(points))]
        if not pieces:  # all data coincide
            nothing = np.empty(0, np.intp)
            return Dictionary(norm, arrangement, nothing, nothing, nothing, np.empty(0))
        return Dictionary(norm, arrangement, *(np.concatenate(columns) for columns in zip(*pieces, strict=True)))

    def __len__(self) -> int:
        return len(self.cost)

    @property
    def free(self) -> Array:
        """Return what costs nothing, as columns (n, _): constants, by the output bias; for S affine ones, x centred."""
        points = self.arrangement.points
        ones = np.ones((len(points), 1))
        return np.hstack([points - points.mean(0), ones]) if self.norm == "stability" else ones

    def outputs(self, units: Indices) -> Array:
        """Return σ(z_j) of some units (units, n)."""
        return np.maximum(self.sign[units, None] * self.arrangement.sides(self.plane[units]), 0)

    def active(self, unit: int) -> Flags:
        """Mark the data that count as active."""
        plane = int(self.plane[unit])
        positive = self.arrangement.sides(np.array([plane]))[0] > 0
        on, ways = self.arrangement.choices(plane)
        positive[on] = ways[self.choice[unit]]
        return positive if self.sign[unit] > 0 else ~positive

    def ratios(self, weights: Array) -> Array:
        """Compute |Σ_j weights_j σ(z_j)| / cost of every unit (N,)."""
        arrangement, values = self.arrangement, np.empty((2, len(self.arrangement)))
        for rows in blocks(len(arrangement), len(weights)):
            z = arrangement.sides(rows)
            for row, sign in enumerate((1, -1)):
                values[row, rows] = np.maximum(sign * z, 0) @ weights
        return np.abs(values[(self.sign < 0).astype(int), self.plane]) / self.cost


def _priced(arrangement: Arrangement, rows: Indices, norm: Norm) -> tuple[Indices, Indices, Indices, Array]:
    """Return plane, sign, choice and cost of the units of a block of hyperplanes."""
    z = arrangement.sides(rows)
    costs, choices = zip(*(_cheapest(arrangement, rows, sign, z, norm) for sign in (1, -1)), strict=True)
    if norm == "stability":  # one unit a hyperplane; of its orientations the one with less to add up, and so to round
        cost = np.minimum(*costs)
        choice = np.where(costs[0] <= costs[1], *choices)
        sign = np.where(z.sum(1) <= 0, 1, -1)
        columns = rows, sign, choice, cost
    else:
        sign = np.repeat([1, -1], len(rows))
        columns = np.tile(rows, 2), sign, np.concatenate(choices), np.concatenate(costs)
    positive = columns[-1] > 0  # the others are 0, or affine, on all data
    plane, sign, choice, cost = (column[positive] for column in columns)
    return plane, sign, choice, cost


def _cheapest(arrangement: Arrangement, rows: Indices, sign: int, z: Array, norm: Norm) -> tuple[Array, Indices]:
    """Minimise the cost of one orientation over the ways to tilt: cost and choice."""
    points, n = arrangement.points, len(arrangement.points)
    # what a datum adds to the active ones: (x, 1) or (‖x‖², 1)
    size = (points**2).sum(1, keepdims=True) if norm.startswith("sufficient") else points
    marks = np.hstack([size, np.ones((n, 1))])
    sums = (sign * z > 0) @ marks
    members = arrangement.members[rows]
    output = np.maximum(sign * z, 0)
    mean = output.mean(1)
    root = np.sqrt((output**2).mean(1))
    best, choice = np.full(len(z), np.inf), np.zeros(len(z), int)
    for index, subset in enumerate(arrangement.tilts):
        taken = subset if sign > 0 else ~subset
        total = sums + np.einsum("k,mki->mi", taken.astype(float), marks[members])
        cost = _factor(norm, total, n, mean, root)
        better = cost < best
        best, choice = np.where(better, cost, best), np.where(better, index, choice)
    for row in np.flatnonzero(arrangement.is_crowded[rows]):
        on, ways = arrangement.choices(int(rows[row]))
        total = sums[row] + (ways if sign > 0 else ~ways).astype(float) @ marks[on]
        costs = _factor(norm, total, n, mean[row], root[row])
        best[row], choice[row] = costs.min(), costs.argmin()
    return best, choice


def _factor(norm: Norm, total: Array, n: int, mean: Array, root: Array) -> Array:
    """Price a unit of mean output and root mean square output, with the sums over its active data."""
    if norm == "sufficient":
        return root * np.sqrt(total.sum(1) / n)
    if norm == "sufficient_below":
        count = np.maximum(total[:, -1], 1)
        return mean * np.sqrt(1 + total[:, 0] / count)
    return mean * np.linalg.norm(total, axis=1) / n
