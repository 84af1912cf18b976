"""Threads: what compiled programs may use of them."""

from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def one_thread() -> None:
    """Keep BLAS on one thread, once a process: sums over several would depend on their number."""
    import scipy.linalg.cython_blas  # noqa: F401 - what numba calls, so that it is loaded

    ThreadpoolController().select(user_api="blas").limit(limits=1)
