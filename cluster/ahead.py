"""Ahead: what a back-end wants done before anything is loaded that takes long or has threads."""

import importlib


def prepare(name: str, workers: int | None) -> None:
    """Let a back-end prepare itself, if it has something to prepare; `workers` is what the user asked for."""
    if name in PREPARATIONS:
        module, function = PREPARATIONS[name].split(":")
        getattr(importlib.import_module(module), function)(workers)


PREPARATIONS = {
    "local": "relusweep.cluster.local.forks:prepare",
    "ray": "relusweep.cluster.ray.guard:prepare",
}
