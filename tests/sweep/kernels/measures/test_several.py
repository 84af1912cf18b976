"""The eigenvalues of small tridiagonal matrices, and the last components of their eigenvectors, equal LAPACK's."""

import numpy as np
import pytest

from relusweep.sweep.kernels.measures.several import _diagonalise


@pytest.mark.parametrize("size", [1, 2, 3, 17, 48])
@pytest.mark.parametrize("split", [False, True])
def test_equal_lapack(size, split):
    random = np.random.default_rng(size)
    for scale in (1e-12, 1.0, 1e9):
        diagonal, beside = scale * random.normal(size=size), scale * random.normal(size=size)
        if split:
            beside[size // 2] = 0.0
        full = np.diag(diagonal) + np.diag(beside[: size - 1], 1) + np.diag(beside[: size - 1], -1)
        expected, vectors = np.linalg.eigh(full)
        values, last = diagonal.copy(), np.eye(size)[-1].copy()
        _diagonalise(values, beside.copy(), last)
        order = np.argsort(values)
        np.testing.assert_allclose(values[order], expected, rtol=0, atol=1e-13 * np.abs(expected).max())
        np.testing.assert_allclose(np.abs(last[order]), np.abs(vectors[-1]), rtol=0, atol=1e-7)
        assert abs((last**2).sum() - 1) < 1e-12
