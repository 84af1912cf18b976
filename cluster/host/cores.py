"""Cores: how many of this machine's are ours."""

import os


def own_cores() -> int:
    """Return how many cores this process may use: those that it is bound to; all where systems bind none (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
