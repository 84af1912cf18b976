"""States: what was left when the steps were used up is read as it was, or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from relusweep.sweep import states
from relusweep.sweep.checkpoint import write_checkpoint
from relusweep.sweep.run import Run
from relusweep.sweep.states import States
from relusweep.sweep.store.store import Store

RUNS = [Run(problem="sine", lr=0.1, seed=seed, max_steps=400) for seed in range(3)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def left(**changed: Any) -> States:
    state = {"theta": torch.arange(6.0, dtype=torch.float64).reshape(3, 2), "peak": torch.zeros(3)}
    moments = [(1, torch.tensor([0, 2]), torch.ones(9, 2, dtype=torch.float64))]
    return States([run.model_dump() for run in RUNS], 400, state, moments, 0.5)._replace(**changed)


def test_states_are_read_as_they_were_written(store: Store) -> None:
    path = store.path / "states" / "p.pt"
    states.write(path, RUNS, left())
    ((where, found),) = states.kept(store)
    assert (where, found.step, found.seconds) == (path, 400, 0.5)
    assert found.ids == {run.id for run in RUNS}
    assert torch.equal(found.state["theta"], left().state["theta"])
    assert torch.equal(found.moments[0][1], torch.tensor([0, 2]))


def test_damaged_states_and_those_of_something_else_are_none(store: Store) -> None:
    states.write((store.path / "states" / "a.pt"), RUNS, left())
    content = (store.path / "states" / "a.pt").read_bytes()
    for place in range(0, len(content), 97):
        spoiled = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        (store.path / "states" / "a.pt").write_bytes(spoiled)
        assert not [*states.kept(store)]
    for spoiled in (content[:-40], b"", content[:100]):
        (store.path / "states" / "a.pt").write_bytes(spoiled)
        assert not [*states.kept(store)]
    states.write((store.path / "states" / "b.pt"), RUNS, left(state={"theta": torch.zeros(2, 2)}))
    states.write((store.path / "states" / "c.pt"), RUNS, left(runs=[{"lr": 0.1}] * 3))
    write_checkpoint((store.path / "states" / "d.pt"), {"training": {"step": 1, "cursor": 0, "ids": []}})
    (store.path / "states" / "e.pt").mkdir()
    assert not [*states.kept(store)]


def test_pruning_sets_aside_states_of_which_no_run_is_named(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for max_steps in (200, 400):
        assert cli("run", tiny(max_steps=max_steps, tolerance=0.0), "--out", store, "--workers", 1).code == 0
    assert len([*states.kept(Store(store))]) == 2
    assert cli("prune", "--yes", store).code == 0
    ((_, found),) = states.kept(Store(store))
    assert found.step == 400
    assert len([*(store / "aside").glob("states-*.pt")]) == 1


@pytest.mark.parametrize(
    ("width", "measure", "count"),
    [(4, "", 1), (4, "save_states = false", 0), (9000, "", 0), (9000, "save_states = true", 1)],
)
def test_states_of_large_networks_are_kept_where_the_spec_asks_for_them(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, width: int, measure: str, count: int
) -> None:
    spec = tiny(grid="lr = [1e-3]", width=width, max_steps=1, n=2, n_test=0, tolerance=0.0, measure=measure)
    assert cli("run", spec, "--out", tmp_path / "store", "--workers", 1).code == 0
    assert len([*states.kept(Store(tmp_path / "store"))]) == count
