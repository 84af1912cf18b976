"""Waiting for another launcher costs next to nothing: no part is read twice, and the spec is not expanded again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.cluster import launch as launching
from relusweep.cluster.backend import Job, backend
from relusweep.cluster.launch import train_missing as train
from relusweep.sweep import tally as tallies
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.lease import leased
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store
from relusweep.sweep.tally import Tally


def rows(runs: list[Run]) -> list[dict[str, Any]]:
    return [run.model_dump() | {"run_id": run.id, "status": "budget"} for run in runs]


def test_waiting_launcher_reads_only_what_is_new(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, store = Spec.read(tiny()), Store.create(tmp_path / "store")
    runs = list(spec.expand())
    store.write("a", {"runs": rows(runs[:1])}, {})
    store.write("b", {"runs": rows(runs[1:2])}, {})
    tally = Tally(store, RunIds(run.id for run in runs))
    read, said, ticks = [], [], []
    pieces = tallies.pieces
    monkeypatch.setattr(tallies, "pieces", lambda part, columns: read.append(part.stem) or pieces(part, columns))
    monkeypatch.setattr(Spec, "expand", lambda self: pytest.fail("expanded while there was nothing to train"))
    monkeypatch.setattr(launching, "_WAIT_SECONDS", 0)

    def tick() -> None:
        """Be the other launcher: record its runs after a while, one part after the other."""
        ticks.append(1)
        if len(ticks) in (4, 8):
            store.write(f"of-{len(ticks)}", {"runs": rows(runs[2:3] if len(ticks) == 4 else runs[3:])}, {})

    with leased(store, "other", [run.id for run in runs[2:]]):
        failed = train(spec, tally, backend("local", 1), Job(store.path, spec.measure, "local", 60), tick, said.append)
    assert not failed
    assert len(ticks) == 8
    assert read == ["pack-a", "pack-b", "pack-of-4", "pack-of-8"]
    assert said == [f"{store.path}: another launcher is training the last 2 runs; waiting for it."]
