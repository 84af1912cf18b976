"""Repair: broken parts are set aside, and only what was in them is trained again."""

import pytest

from relusweep.sweep.run import Run
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.repair import repair
from relusweep.sweep.store.store import Store


def rows(*seeds, **columns):
    runs = [Run.model_validate({"problem": "sine", "lr": 0.1, "seed": seed}) for seed in seeds]
    return [
        run.model_dump() | {"run_id": run.id, "status": "budget", "moments": 0, "weights_saved": False} | columns
        for run in runs
    ]


@pytest.fixture
def store(tmp_path):
    """Two packs without moments, then one with moments and weights."""
    made = Store.create(tmp_path / "store")
    made.write("a", {"runs": rows(0, 1)}, {})
    made.write("b", {"runs": rows(2, status="diverged")}, {})
    later = rows(3, 4, moments=1, weights_saved=True)
    moments = [{"run_id": row["run_id"], "step": 1, "loss": 0.5} for row in later]
    weights = [{"run_id": row["run_id"], "w1": [1.0]} for row in later]
    made.write("c", {"runs": later, "trajectories": moments, "weights": weights}, {})
    return made


def seeds(store):
    return sorted(store.read()[0]["seed"].to_pylist())


@pytest.mark.parametrize("table", ["trajectories", "weights"])
@pytest.mark.parametrize("compacted", [False, True])
def test_only_runs_whose_rows_were_lost_are_missing(store, table, compacted):
    if compacted:
        compact(store)
    (part,) = store.parts(table)
    part.write_bytes(part.read_bytes()[:40])
    found = repair(store)
    assert list(found) == [part]
    assert found[part][1].parent.name == "aside"
    assert seeds(store) == [0, 1, 2]
    assert repair(store) == {}


def test_rows_that_are_taken_out_are_kept_aside(store):
    (part,) = store.parts("weights")
    part.write_bytes(b"")
    repair(store)
    names = sorted(path.name.split("-")[0] for path in (store.path / "aside").iterdir())
    assert names == ["runs", "weights"]


def test_sound_store_is_left_as_it_is(store):
    assert repair(store) == {}
    assert seeds(store) == [0, 1, 2, 3, 4]
    assert not (store.path / "aside").exists() or not list((store.path / "aside").iterdir())


def test_recorded_runs_without_what_is_asked_are_counted(store):
    assert store.lacking(moments=False, weights=False) == {}
    assert store.lacking(moments=True, weights=True) == {"trajectories": 3, "weights": 2}
