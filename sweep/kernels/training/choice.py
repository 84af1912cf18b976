"""Choice: the kernels that there are, and the one that trains a run."""

import torch

from relusweep.sweep.kernels.training import blas, fused, graphed, persistent, plain
from relusweep.sweep.kernels.training.kernel import Kernel
from relusweep.sweep.run import Run

# The first that supports a run's shape on the device trains it: the faster stands before the one that takes more.
#   on a GPU  persistent (a run fits one warp's registers), graphed (the reference's step, replayed)
#   on a CPU  fused (small enough to be unrolled), blas (any size)
#   on both   plain, the reference, which steps by every rule
KERNELS: tuple[Kernel, ...] = (persistent, fused, blas, graphed, plain)


def choose(run: Run, device: torch.device) -> Kernel:
    """Return the kernel that trains runs of this shape on the device.

    Raises:
        ValueError: if no kernel steps by the run's optimizer.
    """
    for kernel in KERNELS:
        if kernel.supports(run, device):
            return kernel
    known = ", ".join(sorted(plain.OPTIMIZERS))
    raise ValueError(f"optimizer = {run.optimizer!r}: no kernel steps by it; expected one of {known}")
