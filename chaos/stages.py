"""Stages: the literal list of them, and which back-end each is about."""

from chaos import earlier, faults, many, ray, slurm
from chaos.stage import Stage

STAGES: dict[str, Stage] = {
    "local": faults.STAGE,
    "many parts": many.STAGE,
    "10,000 parts": many.VERY_MANY,
    "an earlier version beside": earlier.STAGE,
    "slurm": slurm.STAGE,
    "ray": ray.STAGE,
}
BACKENDS = {
    "local": ("local", "many parts", "10,000 parts", "an earlier version beside"),
    "slurm": ("slurm",),
    "ray": ("ray",),
}
