"""Certificate: weights on the data that prove what no stable shallow network can do better.

At a stable interpolating minimum of gradient descent with step size η on the loss (1/2n) Σ r² a shallow ReLU network
with trained biases has S ≤ S̃ ≤ 1/η - ½ [Nacson et al. 2023]; conversely a function with S_G ≤ 1/η - ½ has an
implementation whose Gauss–Newton sharpness is at most 2/η [derived here]. So over *all* shallow networks, of any width,
we ask two things:

    the least sup-error  ε = max_j |f(x_j) - y_j|  of those with norm ≤ 1/η - ½,    and
    the least norm of those with sup-error ≤ ε.

Every v with v·(what is free) = 0 answers both, whoever found it: with ρ = max over all units of |Σ_j v_j σ(z_j)| / cost
every shallow network has

    v·y = v·f + v·(y - f) ≤ ρ · norm + ‖v‖₁ · ε,    and likewise ≤ ρ · norm + √n ‖v‖₂ · √(mean r²)

The second inequality certifies the least root mean square error. `floors` finds the v that proves most.

At a minimum that does not interpolate the theorem has a residual term, S̃ ≤ 1/η - ½ + ½ √(1 + R²) mean |r_j| with
R = max ‖x_j‖ [derived here]. As mean |r_j| ≤ ε, the budget then grows with the error by `slack` = ½ √(1 + R²) a unit.
So the floor with slack holds at every stable minimum (twice differentiable, one hidden layer); that without slack holds
for functions of the stated norm, and where it is positive no stable minimum interpolates.

Reference:
    Nacson, Mulayoff, Ongie, Michaeli, Soudry, ICLR 2023, arXiv:2306.17499.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from relusweep.sweep.data import Array
from relusweep.sweep.errors import RelusweepError

ErrorMeasure = Literal["sup", "rms"]
"""How a network's residuals r (n,) become its error: max |r_j|, or √(mean r²)."""


class FloorError(RelusweepError, ValueError):
    """A floor cannot be had: the message says why."""


@dataclass(frozen=True)
class Certificate:
    """Weights v on the data, orthogonal to what is free, and what they prove of every shallow network.

    Attributes:
        weights: v (n,).
        ratio: ρ, the largest |Σ_j v_j σ(z_j)| / cost of all units.
        labels: v·y.
    """

    weights: Array
    ratio: float
    labels: float

    def of(self, scale: float) -> "Certificate":
        """Return the certificate of labels that are `scale` times as large."""
        return Certificate(self.weights, self.ratio, self.labels * scale)

    def least_error(self, budget: float, slack: float = 0.0, measure: ErrorMeasure = "sup") -> float:
        """Return the error below which there is no network with norm ≤ budget + slack · (its error).

        Direction: a lower bound on the error of every shallow network, of any width. It holds at every budget, not
        only where the certificate was found; elsewhere others may prove more.
        """
        size = np.abs(self.weights).sum() if measure == "sup" else self._rms_size
        return _share(self.labels - self.ratio * budget, size + slack * self.ratio)

    @property
    def _rms_size(self) -> float:
        """√n ‖v‖₂: v·r is at most this times √(mean r²)."""
        return float(np.sqrt(len(self.weights)) * np.linalg.norm(self.weights))

    def least_norm(self, error: float) -> float:
        """Return the norm below which there is no network with this sup-error or a smaller one."""
        return _share(self.labels - np.abs(self.weights).sum() * error, self.ratio)


def budget(lr: float) -> float:
    """Return 1/η - ½, the largest norm of a stable interpolating minimum with a trained output bias.

    Direction: upper bound on S and S̃. Assumes one hidden ReLU layer with biases, gradient descent at step size η on the
    loss (1/2n) Σ r², residuals 0 and no data on kinks. For η > 2 no such minimum is stable.

    Raises:
        FloorError: for other step sizes.
    """
    if not 0 < lr <= 2:
        raise FloorError(f"lr = {lr}; expected above 0 and at most 2: beyond, no minimum with an output bias is stable")
    return 1 / lr - 0.5


def residual_slack(points: Array) -> float:
    """Return ½ √(1 + R²), R = max ‖x_j‖ over points (n, d): how much more norm each unit of error allows a minimum.

    The error is the mean |r_j|, and so no larger than the root mean square or the largest one.
    """
    return float(np.sqrt(1 + (points**2).sum(1).max()) / 2)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if part > 0 < whole else 0.0
