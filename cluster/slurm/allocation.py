"""Allocation: what SLURM gave to the job that this process runs in."""

import os
from pathlib import Path
from typing import Any

from relusweep.cluster.backend import BackendError
from relusweep.cluster.host.cores import own_cores
from relusweep.cluster.slurm.scheduler import this_job

_DRIVER = Path("/dev/nvidiactl")  # is there where a driver of GPUs is


def node() -> str:
    """Return the name of this node."""
    return os.environ.get("SLURMD_NODENAME", "?")


def workers_here(machine: dict[str, Any]) -> int:
    """Return how many workers this job has room for, and see to it that it got the GPUs that it asked for.

    Raises:
        BackendError: if it did not: a job would otherwise train on a core for hours while its GPU is idle.
    """
    asked = machine["gpus_per_job"]
    if not asked:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a GPU that is visible was not given to this job
        return max(1, min(machine["cpus_per_task"], own_cores()))
    visible = [device for device in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
    if len(visible) != asked:
        raise BackendError(
            f"job {this_job()} on {node()}: asked for {asked} GPU(s), got "
            f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')!r}; expected as many. "
            "Correct gpus_per_job of the machine file, or ask those who run the cluster."
        )
    import torch

    if torch.version.cuda is None and _DRIVER.exists():
        raise BackendError(
            f"job {this_job()} on {node()}: SLURM gave {asked} GPU(s), and torch {torch.__version__} "
            "cannot use any; expected a build with CUDA. Install one where jobs run, or set gpus_per_node = 0."
        )
    if torch.version.cuda is not None and torch.cuda.device_count() != asked:
        raise BackendError(
            f"job {this_job()} on {node()}: SLURM gave {asked} GPU(s), "
            f"torch {torch.__version__} finds {torch.cuda.device_count()}; expected as many. Is the driver too old?"
        )
    return asked
