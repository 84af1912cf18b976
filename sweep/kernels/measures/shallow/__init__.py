"""Measures of shallow networks with few features on the CPU: compiled programs, a network at a time."""

from relusweep.sweep.kernels.measures.shallow.arrays import supports
from relusweep.sweep.kernels.measures.shallow.curvature import gauss_newton_trace, largest_eigenvalues, top_eigenpair
from relusweep.sweep.kernels.measures.shallow.kinks import least_over_modes, on_kink
from relusweep.sweep.kernels.measures.shallow.survey import survey

__all__ = [
    "gauss_newton_trace",
    "largest_eigenvalues",
    "least_over_modes",
    "on_kink",
    "supports",
    "survey",
    "top_eigenpair",
]
