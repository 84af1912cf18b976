"""Measures of deep networks, and of those with many features, on the CPU: compiled, a network at a time.

The products of matrices are left to BLAS on one thread; of a network alone they do not depend on the others of its
pack.
"""

from relusweep.sweep.kernels.measures.layered.curvature import gauss_newton_trace, largest_eigenvalues, top_eigenpair
from relusweep.sweep.kernels.measures.layered.kinks import least_over_modes, on_kink
from relusweep.sweep.kernels.measures.layered.network import supports
from relusweep.sweep.kernels.measures.layered.survey import survey

__all__ = [
    "gauss_newton_trace",
    "largest_eigenvalues",
    "least_over_modes",
    "on_kink",
    "supports",
    "survey",
    "top_eigenpair",
]
