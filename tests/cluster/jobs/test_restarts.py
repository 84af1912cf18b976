"""Restarts: progress alone decides, be it a recorded run or a later state."""

from pathlib import Path

import pytest
import torch

from relusweep.cluster.jobs.restarts import IDLE_STARTS, Restarts, steps_taken
from relusweep.sweep.store.store import Store


def test_start_after_start_that_gets_nowhere_is_too_many() -> None:
    restarts = Restarts()
    for _ in range(IDLE_STARTS):
        restarts = restarts.begun().compared([0, 0.0])
        assert not restarts.are_too_many
    assert restarts.begun().compared([0, 0.0]).are_too_many


def test_start_that_never_comes_to_look_counts_as_one_that_gets_nowhere() -> None:
    restarts = Restarts(standing=[0, 5.0])
    for _ in range(IDLE_STARTS):
        restarts = restarts.begun()
        assert not restarts.are_too_many
    assert restarts.begun().are_too_many
    assert restarts.compared([0, 6.0]) == Restarts(0, IDLE_STARTS, [0, 6.0]), "they count until the next look"


@pytest.mark.parametrize("further", [[0, 2.0], [1, 0.0]], ids=["later state", "recorded run"])
def test_what_gets_further_begins_to_count_anew(further: list[float]) -> None:
    restarts = Restarts(idle=IDLE_STARTS, standing=[0, 1.0])
    assert restarts.begun().compared(further) == Restarts(0, 1, further)
    assert restarts.begun().compared([0, 1.0]).are_too_many
    assert restarts.begun().compared([-1, 9.0]).are_too_many, "what counts most is less"


def test_later_state_is_more_steps(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")

    def write(pack: str, step: int) -> None:
        saved = {"format": 2, "training": {"step": step, "cursor": 0, "ids": ["a", "b"]}}
        torch.save(saved, store.checkpoint(pack))

    assert steps_taken(store, ["first"]) == 0
    write("first", 100)
    write("second", 30)
    assert steps_taken(store, ["first", "second"]) == 130
    store.checkpoint("first").write_bytes(b"damaged")
    assert steps_taken(store, ["first", "second"]) == 30
