"""Local: packs as large as memory allows and small enough to keep all workers busy."""

import pytest

from relusweep.cluster.backend import BackendError
from relusweep.cluster.local.backend import Local
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure


def test_packs_keep_all_workers_busy_and_fit_the_memory() -> None:
    small = Run(problem="sine", lr=0.1, width=4, n=8)
    assert Local(2).pack_size(small, Measure(), 8000) == 1000
    assert Local(2).pack_size(small, Measure(), 1_000_000) == 4096
    assert Local(1).pack_size(small, Measure(), 3) == 32
    assert Local(2).pack_size(Run(problem="sine", lr=0.1, n=2**18, d=64), Measure(), 8000) < 1000


def test_run_that_fits_no_worker_is_refused() -> None:
    huge = Run(problem="sine", lr=0.1, width=2**31 - 1, d=1000)
    with pytest.raises(BackendError, match=r"width = 2147483647 takes .* GiB; expected at most .* GiB a worker here"):
        Local(1).pack_size(huge, Measure(), 1)
