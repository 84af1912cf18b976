"""Floors: the least error and the least norm over all shallow networks on given data, by column generation.

Both questions of `certificate` are linear programmes over the units of a `Dictionary` (least squares for the root mean
square error). HiGHS solves them over few units, then the dictionary prices all units with the dual weights v and adds
those that would pay, until none would: the optimum over the few is then that over all, and v the certificate.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import orth
from scipy.spatial.distance import pdist

from relusweep.analysis.floor.arrangement import FLAT, ON, ROUNDING
from relusweep.analysis.floor.certificate import Certificate, ErrorMeasure, FloorError
from relusweep.analysis.floor.dictionary import Dictionary, Norm
from relusweep.analysis.floor.network import Network, assemble
from relusweep.analysis.floor.programme import least_rms, least_sup
from relusweep.sweep.data import Array

_GAP = 1e-9  # at which column generation stops, in labels of unit range
_NOTHING = 1e-10
_PAYS = 1e-9  # relative: a unit whose ratio is not above those of the pool by this would change nothing


@dataclass(frozen=True)
class Floor:
    """An optimum over all shallow networks: it lies in [lower, upper].

    Attributes:
        lower: Proved by the certificate, up to rounding in float64.
        upper: Attained by the network, up to the tilt that takes data off its kinks.
        network: A shallow network.
        error: Its error on the data, in the measure that was asked for.
        norm: Its norm.
        certificate: The proof of `lower`.
    """

    lower: float
    upper: float
    network: Network
    error: float
    norm: float
    certificate: Certificate

    @property
    def gap(self) -> float:
        """How far the attained optimum may be from the true one."""
        return self.upper - self.lower


class Floors:
    """Floors of one data set and norm; the units that one question needed are at hand for the next.

        >>> import numpy as np
        >>> floors = Floors(np.array([[-1.0], [0.0], [1.0]]), np.array([0.0, 0.7, 0.0]))
        >>> round(floors.least_norm(0.35).upper, 6)  # a constant does
        0.0

    Attributes:
        points: x (n, d).
        labels: y (n,), centred and of unit range.
        dictionary: The units that suffice, priced.
    """

    def __init__(self, points: Array, labels: Array, norm: Norm = "stability") -> None:
        """Enumerate and price the units.

        Args:
            points: x (n, d).
            labels: y (n,).
            norm: What is bounded. With `sufficient` the lower bound is that of `sufficient_below`: a gap remains.

        Raises:
            FloorError: if shapes do not match, numbers are not finite, or points are too near to each other, or to a
                plane, to be distinguished.
            ArrangementError: if there are too many hyperplanes.
        """
        points, labels = np.asarray(points, float), np.asarray(labels, float)
        if points.ndim != 2 or labels.shape != points.shape[:1] or not len(points):
            raise FloorError(f"points {points.shape}, labels {labels.shape}; expected (n, d) and (n,), n at least 1.")
        if not (np.isfinite(points).all() and np.isfinite(labels).all()):
            raise FloorError("points or labels are not finite; expected numbers.")
        _check_distances(points)
        self.points = points
        self.shift, self.scale = float(labels.mean()), float(np.ptp(labels)) or 1.0
        self.labels = (labels - self.shift) / self.scale
        self.dictionary = Dictionary.of(points, norm)
        self.basis = orth(self.dictionary.free)
        self.below = Floors(points, labels, "sufficient_below") if norm == "sufficient" else None
        self._waiting = np.random.default_rng(0).permutation(len(self.dictionary))
        self._pool = np.empty(0, np.intp)
        self._widen()

    def least_error(self, budget: float, slack: float = 0.0, measure: ErrorMeasure = "sup") -> Floor:
        """Minimise the error of networks with norm ≤ budget + slack · error.

        Args:
            budget: From 0 on. At `certificate.budget(lr)` the floor speaks of step size lr.
            slack: 0 for functions of that norm; `residual_slack(points)` for all stable minima, interpolating or not.
            measure: The error of residuals r = f(x) - y, in units of the labels: max |r_j| (`sup`) or √(mean r²)
                (`rms`); the loss is half the square of the latter.

        Returns:
            The least error, certified from below and attained from above.

        Raises:
            FloorError: for negative numbers, or if the solver gives up.
        """
        if not (budget >= 0 and slack >= 0):
            raise FloorError(f"budget = {budget}, slack = {slack}; expected numbers from 0 on.")
        below = None if self.below is None else self.below.least_error(budget, slack, measure)
        return self._solve(budget / self.scale, slack, None, measure, below)

    def least_norm(self, error: float) -> Floor:
        """Minimise the norm of networks with sup-error ≤ error.

        Args:
            error: The largest max |f(x_j) - y_j|, from 0 on, in units of the labels.

        Returns:
            The least norm, in units of the labels, certified from below and attained from above.

        Raises:
            FloorError: if no network has so small an error, since points coincide and their labels do not; for a
                negative number, or if the solver gives up.
        """
        if not error >= 0:
            raise FloorError(f"error = {error}; expected a number from 0 on.")
        below = None if self.below is None else self.below.least_norm(error)
        return self._solve(None, 0.0, error / self.scale, "sup", below)

    def _widen(self) -> None:
        """Add units at random to the pool: twice as many as data, whose outputs span all labels as a rule."""
        count = 2 * len(self.points)
        new, self._waiting = self._waiting[:count], self._waiting[count:]
        self._pool = np.union1d(self._pool, new)

    def _solve(
        self, budget: float | None, slack: float, most: float | None, measure: ErrorMeasure, below: Floor | None
    ) -> Floor:
        """Generate columns until no unit would improve the optimum; without a budget it is the norm."""
        lower, certificate, least = -1.0, None, np.inf
        while True:
            units = self.dictionary.outputs(self._pool), self.dictionary.cost[self._pool], self.dictionary.free
            try:
                if measure == "rms":
                    found = least_rms(*units, self.labels, budget or 0.0, slack)
                else:
                    found = least_sup(*units, self.labels, budget, slack, most)
            except RuntimeError as error:
                raise FloorError(f"the solver gave up over {len(self._pool)} units ({error}).") from None
            if found is None:
                if not len(self._waiting):
                    raise FloorError(
                        f"error = {(most or 0.0) * self.scale:g}; labels of points that coincide are further apart "
                        "than twice that. Expected a larger error."
                    )
                self._widen()
                continue
            amplitudes, free, weights = found
            for _ in range(2):  # the solver's are orthogonal to within its tolerance
                weights -= self.basis @ (self.basis.T @ weights)
            if np.abs(weights).sum() <= _NOTHING:  # a residual of rounding alone proves nothing
                weights[:] = 0
            ratios = self.dictionary.ratios(weights)
            proof = Certificate(weights, float(ratios.max(initial=0)), float(weights @ self.labels))
            proved = proof.least_norm(most or 0.0) if budget is None else proof.least_error(budget, slack, measure)
            if certificate is None or proved > lower:
                lower, certificate = proved, proof
            error, norm = self._error(amplitudes, free, measure), float(np.abs(amplitudes) @ units[1])
            if budget is not None and norm > (limit := budget + slack * error):
                amplitudes *= limit / norm  # by the solver's tolerance
                error, norm = self._error(amplitudes, free, measure), limit
            paying = np.flatnonzero(ratios > ratios[self._pool].max(initial=0) * (1 + _PAYS))
            upper = norm if budget is None else error
            if upper - lower <= _GAP or not len(paying):
                break
            best = paying[np.argsort(-ratios[paying], kind="stable")[: len(self.points)]]
            # least squares take longest: they go on with the units in use, as long as that leads on
            kept = self._pool[amplitudes != 0] if measure == "rms" and upper < least else self._pool
            self._pool, least = np.union1d(kept, best), min(upper, least)
        used = np.flatnonzero(amplitudes)
        free[-1] += self.shift / self.scale
        return Floor(
            lower=lower * self.scale if below is None else below.lower,
            upper=upper * self.scale,
            error=error * self.scale,
            norm=norm * self.scale,
            network=assemble(self.dictionary, self._pool[used], amplitudes[used] * self.scale, free * self.scale),
            certificate=certificate.of(self.scale) if below is None else below.certificate,
        )

    def _error(self, amplitudes: Array, free: Array, measure: ErrorMeasure) -> float:
        r = amplitudes @ self.dictionary.outputs(self._pool) + self.dictionary.free @ free - self.labels
        return float(np.abs(r).max() if measure == "sup" else np.sqrt((r**2).mean()))


def _check_distances(points: Array) -> None:
    """Refuse points too near, to each other or to a plane, for an arrangement to tell whether they are on it."""
    distinct = np.unique(points, axis=0)
    u, spread, _ = np.linalg.svd(distinct - distinct.mean(0), full_matrices=False)
    reach = float(np.abs(points).max())
    size = max(float(spread.max(initial=0)), reach)
    if ((spread > ROUNDING * size) & (spread <= FLAT * size)).any():
        raise FloorError(
            f"points reach {reach:.3g}, but in some direction deviate by {spread[-1]:.3g} only; expected more. "
            "Centre and scale the inputs."
        )
    closest = float(pdist(u[:, spread > FLAT * size]).min(initial=np.inf) * np.sqrt(len(distinct)))
    if ROUNDING < closest <= ON:
        raise FloorError(
            f"two points are {closest:.3g} standard deviations apart; expected more than {ON:g}. Leave one of them out."
        )
