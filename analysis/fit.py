"""Fit: an exponent or a mean, with an interval that knows which runs share a seed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

LEAST_CLUSTERS = 3
LEAST_POINTS = 3  # distinct x


@dataclass(frozen=True)
class Fit:
    """y = exp(intercept) · x^slope.

    `low` and `high` are the ends of the interval for the slope at confidence `level`; `n` points in `clusters` were
    used and `dropped` have no logarithm. `r2` is of log y, null where y is constant.
    """

    slope: float
    low: float
    high: float
    intercept: float
    n: int
    clusters: int
    dropped: int
    level: float
    r2: float | None


@dataclass(frozen=True)
class NoFit:
    """Why no exponent is given."""

    reason: str


def fit_power(x: ArrayLike, y: ArrayLike, cluster: ArrayLike, level: float = 0.95) -> Fit | NoFit:
    """Regress log y on log x by least squares; runs of one cluster may depend on each other in any way.

    The variance of the slope is the cluster-robust sandwich Σ_g (Σ_{i∈g} x̃_i e_i)² / (Σ x̃²)², with x̃ centred and e
    the residuals, times G/(G-1) · (n-1)/(n-2) for G clusters (CR1); its quantile is Student's with G-1 degrees of
    freedom. Clusters must be independent; with a handful of them the interval is an approximation.

    Args:
        x: Positive, any shape (n,); other values are dropped and counted, as are NaN and null.
        y: Likewise, (n,).
        cluster: Label of each point's cluster, (n,).
        level: Confidence level, in (0, 1).

    Returns:
        The fit; or the reason why there is none: fewer than 3 clusters or 3 distinct x are no evidence for an exponent.

    References:
        Cameron and Miller, A practitioner's guide to cluster-robust inference, J. Human Resources 50 (2015).
    """
    x_all, y_all = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    used = (x_all > 0) & (y_all > 0) & np.isfinite(x_all) & np.isfinite(y_all)
    log_x, log_y = np.log(x_all[used]), np.log(y_all[used])
    index = np.unique(np.asarray(cluster)[used], return_inverse=True)[1].reshape(-1)
    n, clusters, distinct = len(log_x), int(index.max(initial=-1)) + 1, len(np.unique(x_all[used]))
    if clusters < LEAST_CLUSTERS:
        return NoFit(f"{clusters} independent {_plural('seed', clusters)}, at least {LEAST_CLUSTERS} needed")
    if distinct < LEAST_POINTS:
        return NoFit(f"{distinct} distinct {_plural('value', distinct)} of x, at least {LEAST_POINTS} needed")
    centred = log_x - log_x.mean()
    spread = centred @ centred
    slope = centred @ (log_y - log_y.mean()) / spread
    intercept = log_y.mean() - slope * log_x.mean()
    residuals = log_y - intercept - slope * log_x
    scores = np.bincount(index, weights=centred * residuals)
    correction = clusters / (clusters - 1) * (n - 1) / (n - 2)
    half = stdtrit(clusters - 1, (1 + level) / 2) * np.sqrt(correction * (scores @ scores)) / spread
    total = np.square(log_y - log_y.mean()).sum()
    return Fit(
        slope=float(slope),
        low=float(slope - half),
        high=float(slope + half),
        intercept=float(intercept),
        n=n,
        clusters=clusters,
        dropped=len(x_all) - n,
        level=level,
        r2=float(1 - residuals @ residuals / total) if total > 0 else None,
    )


@dataclass(frozen=True)
class Mean:
    """A mean of `n` numbers in `clusters`, and the ends of its interval at confidence `level`."""

    value: float
    low: float
    high: float
    n: int
    clusters: int
    level: float


def clustered_mean(values: ArrayLike, cluster: ArrayLike, level: float = 0.95) -> Mean | NoFit:
    """Average numbers, those of one cluster depending on each other in any way.

    The variance of the mean is Σ_g (Σ_{i∈g} (v_i - v̄))² / n² · G/(G-1) for G clusters (CR1), and its quantile is
    Student's with G-1 degrees of freedom. With one number a cluster that is the interval of Student's test.

    Args:
        values: Finite numbers (n,).
        cluster: Label of each one's cluster, (n,).
        level: Confidence level, in (0, 1).

    Returns:
        The mean; or why there is none: fewer than 3 clusters are no evidence.
    """
    v = np.asarray(values, dtype=float)
    index = np.unique(np.asarray(cluster), return_inverse=True)[1].reshape(-1)
    n, clusters = len(v), int(index.max(initial=-1)) + 1
    if clusters < LEAST_CLUSTERS:
        return NoFit(f"{clusters} independent {_plural('seed', clusters)}, at least {LEAST_CLUSTERS} needed")
    mean = v.mean()
    scores = np.bincount(index, weights=v - mean)
    half = stdtrit(clusters - 1, (1 + level) / 2) * np.sqrt(clusters / (clusters - 1) * (scores @ scores)) / n
    return Mean(float(mean), float(mean - half), float(mean + half), n, clusters, level)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
