"""Repair: broken parts are set aside, and only what was in them is trained again."""

import os
import sys
import threading
import time

import pyarrow.parquet as pq
import pytest

from relusweep.sweep.record import SCHEMA_VERSION
from relusweep.sweep.store.atomic import StoreError, replacing
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.repair import forget, remove_leftovers, repair, set_aside
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store
from tests.sweep.store.conftest import rows
from tests.sweep.store.killed import killed

NONE = {"moments": 0, "weights_saved": False}


@pytest.fixture
def store(tmp_path):
    """Two packs without moments, then one with moments and weights."""
    made = Store.create(tmp_path / "store")
    made.write("a", {"runs": rows(0, 1, **NONE)}, {})
    made.write("b", {"runs": rows(2, status="diverged", **NONE)}, {})
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
    assert store.ledger().lacking(moments=False, weights=False) == {}
    assert store.ledger().lacking(moments=True, weights=True) == {"trajectories": 3, "weights": 2}


# Killed half-way -----------------------------------------------------------------------------------------------------


def aside(store):
    """Seeds of the runs that are in parts set aside."""
    parts = (store.path / "aside").glob("runs-*")
    return sorted(seed for part in parts for seed in pq.read_table(part)["seed"].to_pylist())


@pytest.mark.slow
@pytest.mark.parametrize("refuses_links", ["no", "yes"])
@pytest.mark.parametrize("forgotten", [[0], [0, 1]], ids=["one-of-two", "all-of-the-part"])
def test_forgetting_that_is_killed_between_any_two_steps_loses_nothing_that_was_to_stay(
    store, tmp_path, forgotten, refuses_links
):
    ids = [row["run_id"] for row in rows(*forgotten)]
    stay = sorted({0, 1, 2, 3, 4} - set(forgotten))
    copies = killed(store, tmp_path, "forget", *ids, refuses_links=refuses_links)
    assert len(copies) > 3
    for copy in copies:
        assert set(seeds(copy)) >= set(stay)
        assert {*seeds(copy), *aside(copy)} == {0, 1, 2, 3, 4}
        forget(copy, RunIds(ids))
        assert seeds(copy) == stay
        assert {*stay, *aside(copy)} == {0, 1, 2, 3, 4}


@pytest.mark.slow
def test_repair_that_is_killed_between_any_two_steps_is_finished_by_the_next(store, tmp_path):
    (part,) = store.parts("trajectories")
    part.write_bytes(b"broken")
    copies = killed(store, tmp_path, "repair")
    assert len(copies) > 4
    for copy in copies:
        assert set(seeds(copy)) >= {0, 1, 2}
        repair(copy)
        assert seeds(copy) == [0, 1, 2]  # 3 and 4 had moments, and are to be trained again
        assert copy.parts("trajectories") == []


# Several at once -----------------------------------------------------------------------------------------------------


def test_part_that_another_process_has_set_aside_is_skipped(store):
    parts = store.parts()
    (first, _), others = parts[:2], parts[2:]
    first.unlink()
    assert list(set_aside(store, [first, *others])) == others
    assert list(set_aside(store, parts)) == [parts[1]]


def test_broken_part_that_was_recorded_anew_meanwhile_is_left_alone(store, monkeypatch):
    part = store.parts()[0]
    sound = part.read_bytes()
    part.write_bytes(b"broken")
    broken = Store.broken

    def late(self, table):
        found = broken(self, table)
        if table == "runs":  # another launcher sets it aside, and a worker records its pack again
            part.with_suffix(".new").write_bytes(sound)
            os.replace(part.with_suffix(".new"), part)
        return found

    monkeypatch.setattr(Store, "broken", late)
    assert repair(store) == {}
    assert seeds(store) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("trial", range(3))
def test_of_several_processes_that_repair_a_store_each_part_is_moved_by_one_and_none_fails(store, trial):
    for index in range(20):
        store.write(f"broken-{index}", {"runs": rows(100 + index)}, {})
        (store.path / "runs" / f"pack-broken-{index}.parquet").write_bytes(b"broken")
    (part,) = store.parts("weights")
    part.write_bytes(b"broken")
    gate, moved, errors = threading.Barrier(4), [], []

    def work():
        gate.wait()
        try:
            moved.extend(repair(store))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(moved) == len(set(moved)) == 21
    assert seeds(store) == [0, 1, 2]
    assert repair(store) == {}


def test_run_is_forgotten_though_its_part_is_compacted_meanwhile(store, monkeypatch):
    module = sys.modules[repair.__module__]
    read = module.read_part

    def late(part, columns, **given):
        found = read(part, columns, **given)
        if len(store.parts()) > 1:
            compact(store)
        return found

    monkeypatch.setattr(module, "read_part", late)
    forget(store, RunIds([row["run_id"] for row in rows(0)]))
    assert seeds(store) == [1, 2, 3, 4]


# Of a later version --------------------------------------------------------------------------------------------------


def test_part_of_a_later_schema_is_named_and_never_set_aside(store, tree):
    part = store.parts()[0]
    later = pq.read_table(part).append_column("clip", [[0.5, 0.5]])
    pq.write_table(later.replace_schema_metadata({"relusweep.schema_version": "99"}), part)
    before = tree(store.path)
    reason = f"schema 99; this version reads up to {SCHEMA_VERSION}. Use the relusweep that wrote it"
    assert store.broken("runs") == {part: reason}
    with pytest.raises(StoreError, match=r"pack-a\.parquet: schema 99; expected at most \d+, which .* wrote it, or"):
        repair(store)
    assert tree(store.path) == before


# Leftovers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folder",
    [".", "runs", "trajectories", "weights", "checkpoints", "claims", "progress", "failures", "aside", "report",
     "jobs/0123", "jobs/0123/elements", "jobs/0123/logs"],
)  # fmt: skip
def test_old_temporary_files_are_deleted_wherever_they_are_written(store, folder):
    (store.path / folder).mkdir(parents=True, exist_ok=True)
    with pytest.raises(RuntimeError), replacing(store.path / folder / "spec.toml") as new:
        new.write_text("half")
        kept = new.read_text(), new.name
        raise RuntimeError
    new.write_text(kept[0])
    old = new.with_name(f".old{kept[1]}")
    old.write_text("half")
    sound = store.path / folder / "sound.toml"
    sound.write_text("whole")
    for path in (old, sound):
        os.utime(path, (time.time() - 7200,) * 2)
    remove_leftovers(store)
    assert [path.exists() for path in (old, new, sound)] == [False, True, True]


def test_folder_in_the_place_of_a_state_is_set_aside(store):
    folder = store.path / "checkpoints" / f"{'0' * 16}.pt"
    folder.mkdir()
    (folder / "notes.txt").write_text("x")
    repair(store)
    assert store.checkpoints() == []
    assert [path.name for path in (store.path / "aside").glob("checkpoints-*/*")] == ["notes.txt"]


def test_leftovers_are_not_looked_for_behind_links(store, tmp_path):
    mine = tmp_path / "mine"
    (mine / "inside").mkdir(parents=True)
    kept = [mine / ".x.tmp", mine / "inside" / ".y.tmp"]
    (store.path / "jobs").mkdir()
    (store.path / "linked").symlink_to(mine)
    (store.path / "jobs" / "linked").symlink_to(mine)
    left = store.path / "runs" / ".z.tmp"
    for path in (*kept, left):
        path.touch()
        os.utime(path, (0, 0))
    remove_leftovers(store)
    assert [path.exists() for path in (*kept, left)] == [True, True, False]
