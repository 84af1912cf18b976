"""Programme: the best network made of a few units, and the weights on the data that say which other units would pay.

Units have outputs (k, n) and cost (k,); `free` (n, _) costs nothing. A solution is the units' amplitudes (k,), the
coefficients of what is free, and weights v (n,): the derivative of the optimum in the labels, up to a positive factor.
"""

import numpy as np
from scipy.linalg import orth
from scipy.optimize import linprog, nnls

from relusweep.sweep.data import Array

_TOLERANCE = 1e-10  # in labels of unit range
_NOTHING = 1e-12  # a target that is no longer than this is rounding
Solution = tuple[Array, Array, Array]


def least_sup(
    outputs: Array, cost: Array, free: Array, labels: Array, budget: float | None, slack: float, most: float | None
) -> Solution | None:
    """Minimise the sup-error of networks with norm ≤ budget + slack · sup-error; without a budget the norm instead.

    A linear programme: variables are the positive and negative parts of the amplitudes, what is free, the sup-error.

    Args:
        outputs: What the units give on the data (k, n).
        cost: What they cost (k,).
        free: What costs nothing (n, _).
        labels: y (n,).
        budget: The largest norm; None to minimise it.
        slack: How much it grows with the error.
        most: The largest sup-error; None for any.

    Returns:
        The solution; None if these units cannot come so near to the labels.

    Raises:
        RuntimeError: if the solver gives up.
    """
    k, n = outputs.shape
    size = outputs.max(1, initial=0)
    columns, cost = (outputs / size[:, None]).T, cost / size
    fit, error = np.hstack([columns, -columns, free]), -np.ones((n, 1))
    rows, limits = np.block([[fit, error], [-fit, error]]), np.concatenate([labels, -labels])
    norm = np.concatenate([cost, cost, np.zeros(free.shape[1]), [-slack]])
    bounds = [(0, None)] * (2 * k) + [(None, None)] * free.shape[1] + [(0, most)]
    if budget is not None:
        rows, limits = np.vstack([rows, norm]), np.append(limits, budget)
    objective = norm if budget is None else np.eye(len(norm))[-1]
    options = {"primal_feasibility_tolerance": _TOLERANCE, "dual_feasibility_tolerance": _TOLERANCE}
    solved = linprog(objective, rows, limits, bounds=bounds, method="highs", options=options)
    if solved.status == 2:
        return None
    if solved.status:
        raise RuntimeError(f"HiGHS: {solved.message}")
    dual = solved.ineqlin.marginals
    parts = solved.x[: 2 * k].reshape(2, -1)
    return (parts[0] - parts[1]) / size, solved.x[2 * k : -1], dual[:n] - dual[n : 2 * n]


def least_rms(outputs: Array, cost: Array, free: Array, labels: Array, budget: float, slack: float) -> Solution:
    """Minimise the root mean square error of networks with norm ≤ budget + slack · that error.

    With slack the error is the root of an increasing concave function, which Newton's method meets from below.

    Args:
        outputs: What the units give on the data (k, n).
        cost: What they cost (k,).
        free: What costs nothing (n, _).
        labels: y (n,).
        budget: The largest norm.
        slack: How much it grows with the error.

    Returns:
        The solution.

    Raises:
        RuntimeError: if the solver gives up.
    """
    basis = orth(free)
    units = outputs / cost[:, None]
    units = units - (units @ basis) @ basis.T
    target = labels - basis @ (basis.T @ labels)
    root, error = np.sqrt(len(labels)), 0.0
    while True:
        shares = _nearest(units, target, budget + slack * error)
        weights = target - shares @ units
        length = float(np.linalg.norm(weights))
        missing = length / root - error
        if not slack or not missing > _TOLERANCE:
            break
        error += missing / (1 + slack * np.abs(units @ weights).max(initial=0) / (root * length))
    amplitudes = shares / cost
    coefficients = np.linalg.lstsq(free, labels - amplitudes @ outputs, rcond=None)[0]
    return amplitudes, np.asarray(coefficients, float), weights


def _nearest(units: Array, target: Array, norm: float) -> Array:
    """Find the amplitudes, Σ |amplitude| ≤ norm, of the combination of units that is nearest to the target.

    It is the point nearest to it in the hull of the corners ± norm · unit: a problem of least squares with weights ≥ 0,
    whose sum is asked to be 1 by one more row; whatever sum comes out, the proportions are those of the nearest point.
    """
    if not (norm > 0 and len(units) and np.linalg.norm(target) > _NOTHING):
        return np.zeros(len(units))
    corners = np.vstack([norm * units, -norm * units]).T - target[:, None]
    row = np.full(corners.shape[1], np.linalg.norm(target))
    weights, _ = nnls(np.vstack([corners, row]), np.append(np.zeros(len(target)), row[0]), maxiter=30 * len(row))
    positive, negative = (weights / (weights.sum() or 1.0)).reshape(2, -1)
    return norm * (positive - negative)
