"""What this core can do at most: fused multiply-adds kept in registers, and matrix products of given shapes by BLAS."""

import time

import numba
import numpy as np
import threadpoolctl

from relusweep.sweep.kernels.jit.compiled import OPTIONS

LANES = 256  # numbers that are updated in turn: 16 registers of 512 bits, so that no update waits for another


def fma_peak(dtype: str) -> float:
    """Measure floating-point operations per second, two to a multiply-add; the best of five."""
    kind = np.dtype(dtype).type
    factor, term = kind(0.999), kind(0.001)

    @numba.njit(**OPTIONS)
    def update(times, out):
        numbers = np.zeros(LANES, kind)
        for _ in range(times):
            for i in range(LANES):
                numbers[i] = numbers[i] * factor + term
        out[:] = numbers

    out, times = np.zeros(LANES, kind), 2_000_000
    update(10, out)
    return 2 * LANES * times / min(_seconds(update, times, out) for _ in range(5))


def product_rate(n: int, d: int, width: int, dtype: str) -> float:
    """Measure operations per second of the products of a training step, X Wᵀ and Zᵀ X; the best of five."""
    chance = np.random.default_rng(0)
    x, w = chance.standard_normal((n, d)).astype(dtype), chance.standard_normal((width, d)).astype(dtype)
    z, g = np.empty((n, width), dtype), np.empty((width, d), dtype)

    @numba.njit
    def multiply(times, x, w, z, g):
        for _ in range(times):
            np.dot(x, w.T, z)
            np.dot(z.T, x, g)

    multiply(2, x, w, z, g)
    threadpoolctl.threadpool_limits(1)
    times = max(1, int(2e9 / (4 * n * d * width)))
    return 4 * n * d * width * times / min(_seconds(multiply, times, x, w, z, g) for _ in range(5))


def _seconds(work, *arguments) -> float:
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start
