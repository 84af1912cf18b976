"""All queues of a store are one: what any of them has is left alone, and cancelled with the others."""

from pathlib import Path

import pytest

from relusweep.cluster.jobs import queue
from relusweep.cluster.jobs.queue import Queues
from relusweep.sweep.store.lease import leased
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store

NAME = "0" * 31


class Second:
    """A second scheduler, which has one job of every store."""

    error = "the second scheduler does not answer"
    are_over: bool | None = False

    def __init__(self, store: Store) -> None:
        self.store = store

    def runs(self, *, close: bool = True) -> RunIds:
        return RunIds([NAME + "1"])

    def jobs(self) -> list[str]:
        return ["second.1"]

    def describe(self) -> list[str]:
        return ["second.1 waits"]

    def cancel(self) -> list[str]:
        return self.jobs()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def test_without_jobs_there_is_nothing_to_leave_alone(store: Store) -> None:
    queues = Queues(store)
    assert (queues.runs(), queues.jobs(), queues.describe(), queues.cancel()) == (set(), [], [], [])
    assert (queues.errors, queues.are_left_alone) == ([], False)


def test_what_a_second_scheduler_has_counts_beside_the_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(queue.QUEUES, "second", f"{__name__}:Second")
    queues = Queues(store)
    assert queues.runs() == {NAME + "1"}
    assert (queues.jobs(), queues.describe(), queues.cancel()) == (["second.1"], ["second.1 waits"], ["second.1"])
    assert queues.errors == [Second.error]
    assert not queues.are_left_alone
    monkeypatch.setattr(Second, "are_over", True)
    assert queues.are_left_alone
    with leased(store, "a pack", ()):
        assert not queues.are_left_alone
