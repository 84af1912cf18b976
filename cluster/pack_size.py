"""Pack size: what back-ends share of it: how many runs a worker has room for, and how many keep all workers busy."""

import torch

from relusweep.cluster.backend import BackendError
from relusweep.sweep.pack import MAX_RUNS, point_bytes, run_bytes
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.train import tile_size

_PACKS_PER_WORKER = 4  # so that the last packs end at about the same time
_SMALL_TILE = 32  # runs that are worth a pack even if workers then end unevenly
_MEMORY_SHARE = 0.5  # of what a worker has


def fitting(run: Run, measure: Measure, worker_bytes: int, worker: str, cure: str) -> int:
    """Return how many runs of a shape a worker has room for, and no more than any pack may hold.

    Args:
        run: One of the shape.
        measure: What is measured and kept beside it.
        worker_bytes: The memory that a worker has.
        worker: What the message calls it.
        cure: How a worker could have more.

    Raises:
        BackendError: if not even one fits.
    """
    needed, shared, room = run_bytes(run, measure), point_bytes(run), int(_MEMORY_SHARE * worker_bytes)
    found = (room - shared) // needed
    if found < 1:
        raise BackendError(
            f"a run with n = {run.n}, n_test = {run.n_test}, d = {run.d}, width = {run.width} takes "
            f"{_size(needed + shared)}; expected at most {_size(room)} {worker}. {cure}"
        )
    return min(MAX_RUNS, found)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**27 else f"{count / 2**20:.0f} MiB"


def fair(run: Run, device: torch.device, missing: int, workers: int) -> int:
    """Return how many runs a pack may hold such that all workers are busy to the end, a tile's worth at least."""
    return max(-(-missing // (_PACKS_PER_WORKER * workers)), min(tile_size(run, device), _SMALL_TILE))
