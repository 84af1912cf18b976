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


def test_packs_fit_what_a_control_group_leaves_before_anything_is_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [700 * 2**20]
    monkeypatch.setattr("relusweep.cluster.local.backend.available", lambda: left[0])
    place, run = Local(2), Run(problem="affine", lr=0.1, d=20, n=8, n_test=0, width=1000)
    size = place.pack_size(run, Measure(), 6000)
    assert 1 <= size < 300 < Local(2).pack_size(run.model_copy(update={"width": 10}), Measure(), 6000)
    left[0] = 0  # as while packs of this size are trained
    assert place.pack_size(run, Measure(), 6000) == size
