"""Arrangement: the hyperplanes through data points, and every way in which hyperplanes split the data.

A ReLU unit sees the data through the hyperplane w·x + b = 0 alone. Units that split the data alike form a cell: a cone
in (w, b), cut out by the hyperplanes of the data points. Where n points span d dimensions its extreme rays are
hyperplanes through d affinely independent points; a quantity that is linear on each cell is extreme on those.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import comb

import numpy as np
from numpy.typing import NDArray

from relusweep.sweep.data import Array
from relusweep.sweep.errors import RelusweepError

Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]

MOST = 2_000_000  # hyperplanes; beyond, enumeration takes minutes a pass
MOST_WAYS = 8_000_000  # to tilt them, all together: with fewer samples than dimensions they explode
ON = 1e-9  # distance, in data of unit variance, at which a point lies on a hyperplane
FLAT = 1e-10  # relative: in directions of no more deviation the data are taken to lie in a plane
ROUNDING = 1e-13  # relative: what is no more than this is rounding
_BLOCK = 2**20  # numbers of a temporary


class ArrangementError(RelusweepError, ValueError):
    """Data have too many hyperplanes: the message says how many, and what would help."""


@dataclass(frozen=True)
class Arrangement:
    """The N distinct hyperplanes through points (n, d) that span r of d dimensions.

    Attributes:
        w: Normals (N, d), within the affine hull of the points.
        b: Biases (N,): a point x lies on the side of sign(w·x + b).
        members: For each, r points on it that determine it (N, r).
        crowded: Those with more than r points on them, by index: all points on it.
    """

    points: Array
    w: Array
    b: Array
    members: Indices
    crowded: dict[int, Indices]

    def __len__(self) -> int:
        return len(self.b)

    @staticmethod
    def of(points: Array) -> "Arrangement":
        """Enumerate the hyperplanes.

        Args:
            points: x (n, d).

        Returns:
            Each distinct hyperplane once, in the order of its first r members.

        Raises:
            ArrangementError: if there are more than `MOST`, or more than `MOST_WAYS` to tilt them.
        """
        whitened, centre, back = _whiten(points)
        n, r = whitened.shape
        if comb(n, r) > MOST:
            raise ArrangementError(
                f"n = {n}, d = {r}: {comb(n, r):,} hyperplanes through {r} points; expected at most {MOST:,}. "
                "Take fewer points or dimensions."
            )
        if comb(n, r) << r > MOST_WAYS:
            raise ArrangementError(
                f"n = {n}, d = {r}: {comb(n, r):,} hyperplanes, each with 2^{r} ways to tilt it; expected at most "
                f"{MOST_WAYS:,} ways in all. Take fewer points or dimensions."
            )
        if r == 0:
            nothing = np.empty((0, points.shape[1]))
            return Arrangement(points, nothing, np.empty(0), np.empty((0, 0), np.intp), {})
        normals, offsets, members = _through(whitened)
        kept, crowded, seen = np.ones(len(offsets), bool), {}, set()
        for rows in blocks(len(offsets), n):
            on = np.abs(normals[rows] @ whitened.T - offsets[rows, None]) <= ON
            np.put_along_axis(on, members[rows], True, 1)
            for row in np.flatnonzero(on.sum(1) > r):
                all_on = np.flatnonzero(on[row])
                kept[rows[row]] = tuple(all_on) not in seen
                seen.add(tuple(all_on))
                crowded[int(rows[row])] = all_on
        new = np.cumsum(kept) - 1
        w = normals[kept] @ back
        return Arrangement(
            points, w, -w @ centre - offsets[kept], members[kept],
            {int(new[old]): on for old, on in crowded.items() if kept[old]},
        )  # fmt: skip

    def sides(self, rows: Indices) -> Array:
        """Return w·x_j + b of some hyperplanes (rows, n), exactly 0 for points on them."""
        z = self.w[rows] @ self.points.T + self.b[rows, None]
        np.put_along_axis(z, self.members[rows], 0.0, 1)
        for place in np.flatnonzero(self.is_crowded[rows]):
            z[place, self.crowded[int(rows[place])]] = 0.0
        return z

    @cached_property
    def is_crowded(self) -> Flags:
        """Mark the hyperplanes with more than r points."""
        marks = np.zeros(len(self), bool)
        marks[list(self.crowded)] = True
        return marks

    @property
    def tilts(self) -> Flags:
        """Return every way to put r independent points on two sides (2^r, r)."""
        r = self.members.shape[1]
        return (np.arange(1 << r)[:, None] >> np.arange(r)[::-1]) % 2 == 1

    def choices(self, index: int) -> tuple[Indices, Flags]:
        """Return the points on a hyperplane, and each way (rows) in which a small tilt puts them on its two sides."""
        on = self.crowded.get(index)
        if on is None:
            return self.members[index], self.tilts
        return on, splits(self.points[on])


def splits(points: Array) -> Flags:
    """Enumerate every way in which a hyperplane that meets no point splits the points, all on one side included.

    The extreme rays of the cell of a split are hyperplanes through points; those on them are split by a tilt, which
    is a hyperplane within theirs: the same question in one dimension less. Points that coincide are never split.

    Args:
        points: x (n, d).

    Returns:
        Rows of which points lie on the positive side; with a split also its opposite.
    """
    found = np.array([[False] * len(points), [True] * len(points)])
    arrangement = Arrangement.of(points)
    ways = [found]
    for index in range(len(arrangement)):
        z = arrangement.sides(np.array([index]))[0]
        on = np.flatnonzero(z == 0)
        tilts = splits(points[on]) if index in arrangement.crowded else arrangement.choices(index)[1]
        for positive in (z > 0, z < 0):
            block = np.repeat(positive[None], len(tilts), 0)
            block[:, on] = tilts
            ways.append(block)
    return np.unique(np.concatenate(ways), axis=0)


def blocks(count: int, n: int) -> Iterator[Indices]:
    """Cut rows of n numbers into blocks that fit in the cache: their indices."""
    size = max(1, _BLOCK // n)
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def _whiten(points: Array) -> tuple[Array, Array, Array]:
    """Return coordinates of unit variance in the affine hull, the mean, and what takes a normal back to all d."""
    centre = points.mean(0)
    u, spread, axes = np.linalg.svd(points - centre, full_matrices=False)
    rank = int((spread > FLAT * max(spread.max(initial=0), np.abs(points).max(initial=0))).sum())
    root = np.sqrt(len(points))
    return u[:, :rank] * root, centre, axes[:rank] * (root / spread[:rank, None])


def _through(points: Array) -> tuple[Array, Array, Indices]:
    """Return unit normals, offsets and members of the hyperplanes through each r points that are independent."""
    n, r = points.shape
    flat = itertools.chain.from_iterable(itertools.combinations(range(n), r))
    members = np.fromiter(flat, np.intp, comb(n, r) * r).reshape(-1, r)
    base = points[members[:, 0]]
    edges = points[members[:, 1:]] - base[:, None]
    minors = [np.linalg.det(np.delete(edges, axis, 2)) * (-1) ** axis for axis in range(r)]
    normals = np.stack(minors, 1)
    size = np.linalg.norm(normals, axis=1)
    lengths = np.linalg.norm(edges, axis=2)
    independent = (size > ON * lengths.prod(1)) & (lengths.min(1, initial=np.inf) > ON)
    normals = normals[independent] / size[independent, None]
    return normals, (normals * base[independent]).sum(1), members[independent]
