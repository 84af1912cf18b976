"""Measures of shallow networks with few features on the CPU: compiled programs, a network at a time."""

from sweep.kernels.shallow.arrays import supports
from sweep.kernels.shallow.curvature import top_eigenpair
from sweep.kernels.shallow.kinks import least_over_modes, on_kink
from sweep.kernels.shallow.survey import survey

__all__ = ["least_over_modes", "on_kink", "supports", "survey", "top_eigenpair"]
