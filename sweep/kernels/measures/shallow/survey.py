"""The survey of shallow networks: one pass over the samples of each."""

import numpy as np

from relusweep.sweep.kernels.jit.compiled import compiled
from relusweep.sweep.kernels.measures.networks import Networks
from relusweep.sweep.kernels.measures.shallow.arrays import arrays
from relusweep.sweep.kernels.measures.survey import Survey


def survey(networks: Networks) -> Survey:
    """Return what one pass over the samples shows of every network."""
    found = networks.theta.new_empty(len(Survey._fields), len(networks.theta))
    _survey(*arrays(networks), found.numpy())
    return Survey(*found)


@compiled
def _survey(axes, theta, x, y, slopes, biases, found):
    """Fill `found`, a row a number of `Survey`; the other arguments are those of `shallow.arrays`.

    Of each unit's hyperplane: n A and n (m, P) of its own side, and of the side behind it; how far z reaches.
    """
    (count, p), n = theta.shape, x.shape[1]
    k = (p - biases.output) // (len(axes) + 1)
    end = len(axes) * k
    height, height_behind, reach = np.empty(k), np.empty(k), np.empty(k)
    moment, moment_behind = np.empty(end), np.empty(end)
    for b in range(count):
        weights, inputs, slope = theta[b], x[b if len(x) > 1 else 0], slopes[b]
        a, c = weights[end : end + k], (weights[end + k] if biases.output else 0.0)
        height[:], height_behind[:], moment[:], moment_behind[:], reach[:] = 0.0, 0.0, 0.0, 0.0, -np.inf
        squares, absolutes, largest, farthest, finite = 0.0, 0.0, 0.0, 0.0, True
        for j in range(n):
            f, far = c, 0.0
            for q in range(len(axes)):
                far += inputs[j, q] ** 2
            for i in range(k):
                z = 0.0
                for q in range(len(axes)):
                    z += weights[q * k + i] * inputs[j, q]
                ahead, behind = (1.0 if z > 0.0 else slope), (1.0 if z < 0.0 else slope)
                f += a[i] * (ahead * z)
                height[i] += ahead * z
                height_behind[i] -= behind * z
                reach[i] = max(reach[i], z)
                for q in range(len(axes)):
                    moment[q * k + i] += ahead * inputs[j, q]
                    moment_behind[q * k + i] += behind * inputs[j, q]
            residual = f - y[b, j]
            squares += residual**2
            absolutes += abs(residual)
            largest = max(largest, abs(residual))
            farthest = max(farthest, far)
            finite &= abs(residual) < np.inf  # np.isfinite subtracts, and differences of equals are taken for 0 here
        mean, shallow, oriented, variation, norm, dead = 1.0 if biases.output else 0.0, 0.0, 0.0, 0.0, c**2, 0
        for i in range(k):
            slant, slant_behind, length = 0.0, 0.0, 0.0
            for q in range(len(axes)):
                slant += moment[q * k + i] ** 2
                slant_behind += moment_behind[q * k + i] ** 2
                norm += weights[q * k + i] ** 2
                length += weights[q * k + i] ** 2 if q < len(axes) - biases.hidden else 0.0
            ahead = abs(height[i]) * np.sqrt(slant) / n**2
            behind = abs(height_behind[i]) * np.sqrt(slant_behind) / n**2
            oriented += abs(a[i]) * ahead
            shallow += abs(a[i]) * min(ahead, behind)
            variation += abs(a[i]) * np.sqrt(length)
            norm += a[i] ** 2
            mean += (height[i] ** 2 + a[i] ** 2 * slant) / n**2
            dead += not reach[i] > 0.0
        correction = absolutes / n * np.sqrt(farthest)
        found[:, b] = (
            1.0 if finite else 0.0, squares / n / 2, largest, mean, np.sqrt(norm), dead / k, shallow, oriented,
            variation, correction,
        )  # fmt: skip
