import os

import pytest

from relusweep.cluster.host.cores import own_cores


def test_ours_are_the_cores_to_which_we_are_bound() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert own_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert own_cores() == len(before)


def test_where_processes_are_bound_to_no_cores_all_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert own_cores() == os.cpu_count()
