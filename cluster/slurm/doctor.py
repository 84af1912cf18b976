"""Doctor: what SLURM needs on this machine: submitit, the scheduler's commands, a controller that answers."""

import shutil
import subprocess
from collections.abc import Iterator

from relusweep.cluster.finding import Finding, found, library

_SECONDS = 10.0  # for an answer of SLURM
_COMMANDS = ("sbatch", "squeue", "scontrol", "scancel")


def findings(needed: bool) -> Iterator[Finding]:
    """Yield what SLURM needs, and whether it is there; `needed` if SLURM is to be used."""
    yield library("submitit", "slurm", needed)
    if lacking := [command for command in _COMMANDS if shutil.which(command) is None]:
        cure = "Use a login node; SLURM may come in a module."
        yield found(False, needed, f"SLURM: no {', '.join(lacking)}; --on slurm needs them. {cure}")
        return
    answer = _answer("scontrol", "ping")
    is_up = answer is not None and " UP" in answer
    yield found(
        is_up, needed, "SLURM: " + ("answers" if is_up else "scontrol ping finds no controller. Try again later.")
    )
    if is_up and _answer("sacct", "-n", "-X", "-j", "1") is None:
        yield Finding("absent", "SLURM: no accounting; how jobs ended that left the queue stays unknown.")


def _answer(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout
