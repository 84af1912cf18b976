"""Compiled: functions that numba turns into machine code on first use, kept on disk for the next process."""

import inspect
from collections.abc import Callable
from typing import Any

import numba

# Sums may be reordered and products fused, always in the same way; NaN and infinity keep their meaning.
_OPTIONS: dict[str, Any] = {
    "nogil": True, "error_model": "numpy", "boundscheck": False, "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}  # fmt: skip


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a function for the types and constants that it meets; run-time checks around it are taken off."""
    function = inspect.unwrap(function)
    try:
        return numba.njit(cache=True, **_OPTIONS, **options)(function)
    except RuntimeError:  # no directory to keep it in
        return numba.njit(**_OPTIONS, **options)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile as a part of the one function that calls it: half of the compiler's time."""
    return compiled(function, inline="always")
