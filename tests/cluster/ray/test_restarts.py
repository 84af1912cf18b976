"""Restarts of a job with a Ray cluster: one that gets no further ends, one that does goes on, however often it starts."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from relusweep.cluster.backend import BackendError
from relusweep.cluster.jobs.restarts import IDLE_STARTS
from relusweep.cluster.ray.restarts import JobRestarts
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Start job 7 once more, in the folder where it was submitted."""
    monkeypatch.chdir(tmp_path)

    def once_more(loads: bool = True) -> None:
        restarts = JobRestarts("7", Path("store"))
        restarts.begin()
        if loads:
            restarts.compare()

    return once_more


def write_state(store: Store, step: int) -> None:
    torch.save({"format": 2, "training": {"step": step, "cursor": 0, "ids": ["a", "b"]}}, store.checkpoint("pack"))


@pytest.mark.parametrize("loads", [True, False])
@pytest.mark.parametrize("is_begun", [True, False])
def test_job_that_gets_no_further_gives_up(
    loads: bool, is_begun: bool, start: Callable[..., None], tmp_path: Path
) -> None:
    if is_begun:
        write_state(Store.create(tmp_path / "store"), 100)
    for _ in range(IDLE_STARTS):
        start(loads)
    said = r"^job 7 was started 3 times in a row without getting store any further; expected a recorded run or a later"
    with pytest.raises(BackendError, match=said):
        start(loads)


def test_job_that_gets_further_does_not_give_up_however_often_it_is_started(
    start: Callable[..., None], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    store, runs = Store.create(tmp_path / "store"), Spec.read(tiny()).expand()
    for step in range(2 * IDLE_STARTS):
        for ready in range(IDLE_STARTS):  # some that were stopped while they loaded are among them
            start(loads=ready % 2 == step % 2 or ready == IDLE_STARTS - 1)
        if step % 2:
            run = next(runs)
            store.checkpoint("pack").unlink()
            store.write(run.id, {"runs": [run.model_dump() | {"run_id": run.id, "status": "budget"}]}, {})
        else:
            write_state(store, 100 + step)
    with pytest.raises(BackendError, match=re.escape(f"{IDLE_STARTS} times in a row")):
        for _ in range(1 + IDLE_STARTS):
            start()


def test_job_that_ended_by_itself_begins_anew(start: Callable[..., None], tmp_path: Path) -> None:
    for _ in range(IDLE_STARTS):
        start()
    JobRestarts("7", Path("store")).forget()
    assert not list(tmp_path.iterdir())
    start()


def test_file_has_the_keys_that_it_always_had(start: Callable[..., None], tmp_path: Path) -> None:
    start(loads=False)
    path = tmp_path / "relusweep-ray-7.json"
    assert json.loads(path.read_text()) == {"unready": 1, "idle": 0, "standing": [0, 0.0]}
    start()
    assert json.loads(path.read_text()) == {"unready": 0, "idle": 2, "standing": [0, 0.0]}
