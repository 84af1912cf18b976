"""Witness: the two-hidden-layer network that is the pyramid [1 - ‖x‖₁]₊, how sharp it is, and the steps it withstands.

    f(x) = a σ(c₂ - q Σ_i (σ(s x_i) + σ(-s x_i))),    a q s = 1,  a c₂ = 1,    its 2d + 1 units and nothing else

Its residual is 0, so the Hessian of the loss (1/2n) Σ r² is Gauss–Newton's (1/n) ΦᵀΦ, whose features Φ = ∇f(x_j) are,
with p = f(x_j),

    1;    and on ‖x‖₁ < 1 alone    p/a;    a s σ(±x_i) and a;    1{±x_i > 0} (x, 1)/s

Its nonzero eigenvalues are those of a sum of positive semidefinite n×n matrices whose factors are exponentials of
linear functions of log a and log s. So λ_max is convex in (log a, log s), and descent finds the flattest scaling of the
layers [derived here].
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from relusweep.sweep.data import Array

# powers of (a, s) in the features: 1; p; σ(±x_i); 1 of the second layer; the first layer's
_POWERS = np.array([[0, 0], [-1, 0], [1, 1], [1, 0], [0, -1]])


@dataclass(frozen=True)
class Scaling:
    """A scaling (a, s) of the witness's layers, and its sharpness."""

    a: float
    s: float
    sharpness: float

    @property
    def lr(self) -> float:
        """Return the largest step size at which gradient descent stays at it, 2/λ."""
        return 2 / self.sharpness


class Witness:
    """The witness on data (n, d) that lie on none of its kinks: no coordinate is 0, no ‖x‖₁ is 1."""

    def __init__(self, points: Array) -> None:
        """Form ΦᵀΦ/n at unit scaling; data outside the pyramid see the output bias alone.

        Args:
            points: x (n, d), on no kink.
        """
        n, d = points.shape
        height = 1 - np.abs(points).sum(1)
        x, p = points[height > 0], height[height > 0, None]
        both = np.hstack([x, -x])
        sides = (both > 0)[:, :, None] * np.hstack([x, np.ones_like(p)])[:, None, :]
        ones = np.ones_like(p)
        features = np.hstack([ones, p, np.maximum(both, 0), ones, sides.reshape(len(x), 2 * d * (d + 1))])
        self.matrix = features.T @ features / n
        self.matrix[0, 0] = 1
        self.powers = np.repeat(_POWERS, [1, 1, 2 * d, 1, 2 * d * (d + 1)], axis=0)

    def scaled(self, a: float = 1.0, s: float = 1.0) -> Scaling:
        """Return the sharpness λ_max at a scaling of the layers, unit by default.

        Args:
            a: Output weight, above 0.
            s: Factor on the first layer, above 0.
        """
        return Scaling(a, s, float(np.exp(self._log_sharpness(np.log([a, s]))[0])))

    def flattest(self) -> Scaling:
        """Minimise the sharpness over the scalings of the layers."""
        found = minimize(self._log_sharpness, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-8})
        return self.scaled(*(float(value) for value in np.exp(found.x)))

    def _log_sharpness(self, logs: Array) -> tuple[float, Array]:
        """Return log λ_max and its gradient: at the eigenvector v a factor e^t on feature k adds 2t v_k²."""
        scale = np.exp(self.powers @ logs)
        values, vectors = np.linalg.eigh(scale[:, None] * self.matrix * scale)
        return float(np.log(values[-1])), 2 * vectors[:, -1] ** 2 @ self.powers
