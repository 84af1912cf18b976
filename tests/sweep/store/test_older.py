"""Older stores: what a version of relusweep has written, every later one reads, extends, replays and reports on."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from relusweep.sweep.checkpoint import load_checkpoint
from relusweep.sweep.execute import Interrupted, execute
from relusweep.sweep.pack import Pack
from relusweep.sweep.record import SCHEMA_DIGESTS, SCHEMA_VERSION, WEIGHTS, schema_digest
from relusweep.sweep.replay import difference, train_alone
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure, Spec
from relusweep.sweep.store.part import schema_version
from relusweep.sweep.store.store import TABLES, Store

ROOT = Path(__file__).parents[3]
KEPT = sorted(path.parent for path in (ROOT / "tests" / "stores").glob("*/store.json"))


@pytest.fixture(params=KEPT, ids=lambda path: path.name)
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A copy of a store that an earlier version has written."""
    return Store(Path(shutil.copytree(request.param, tmp_path / "older")))


def rows(store: Store, table: str = "runs") -> dict[tuple[Any, ...], dict[str, Any]]:
    found, broken = store.read(table)
    assert not broken
    return {(row["run_id"], row.get("step")): row for row in found.to_pylist()}


def planned(store: Store) -> list[str]:
    return sorted(run.id for run in Spec.read(store.spec_path).expand())


def extended(store: Store, tmp_path: Path, line: str = "") -> Path:
    """The spec of the store, and two runs more."""
    text = store.spec_path.read_text() + (
        "\n[[block]]\n"
        + 'fixed = { problem = "pyramid", d = 2 }\n'
        + f"grid = {{ lr = [0.05, 0.2], seed = [2] {line} }}\n"
    )
    path = tmp_path / "extended.toml"
    path.write_text(text)
    return path


def test_what_is_kept_was_written_by_versions_whose_digests_are_known() -> None:
    assert KEPT
    for path in KEPT:
        parts = {table: Store(path).parts(table)[0] for table in TABLES}
        version = schema_version(parts["runs"])
        digest = schema_digest({table: pq.read_schema(part).remove_metadata() for table, part in parts.items()})
        assert SCHEMA_DIGESTS[version] == digest, "the digest of a version that has written stores never changes"


def test_runs_keep_their_ids_and_are_all_there(older: Store, cli: Callable[..., Any]) -> None:
    assert sorted(older.recorded()) == planned(older)
    done = cli("verify", older.path)
    assert (done.code, done.err) == (0, "")
    count = len(older.recorded())
    assert f"planned {count} = recorded {count} + missing 0" in done.out
    assert "broken" not in done.out


def test_only_what_is_new_is_trained_and_what_was_recorded_stays_as_it_is(
    older: Store, cli: Callable[..., Any], tmp_path: Path
) -> None:
    before = {part: part.read_bytes() for table in TABLES for part in older.parts(table)}
    recorded = {table: rows(older, table) for table in TABLES}
    done = cli("run", extended(older, tmp_path), "--out", older.path, "--workers", 1)
    assert (done.code, done.err) == (0, "")
    assert {part: part.read_bytes() for part in before} == before
    assert sorted(older.recorded()) == planned(older)
    assert len(rows(older)) == len(recorded["runs"]) + 2
    for table in TABLES:
        assert {key: row for key, row in rows(older, table).items() if key in recorded[table]} == recorded[table]
    assert json.loads((older.path / "store.json").read_text()) == {"relusweep_schema_version": SCHEMA_VERSION}


@pytest.mark.slow
def test_with_more_steps_what_had_ended_is_taken_over_and_the_rest_goes_on_where_states_were_kept(
    older: Store, cli: Callable[..., Any], tmp_path: Path
) -> None:
    text = older.spec_path.read_text().replace("max_steps = 600", "max_steps = 900").replace('every = "log:3"\n', "")
    (tmp_path / "longer.toml").write_text(text)
    before, has_states = rows(older), (older.path / "states").exists()
    plan = cli("plan", tmp_path / "longer.toml", "--out", older.path).out
    ended = [row for row in before.values() if row["status"] == "diverged"]
    constant = [row for row in ended if row["schedule"] == "constant"]
    assert f", {len(constant)} had ended before it" in plan
    assert ("  0 go on from a smaller max_steps" in plan) != has_states
    done = cli("run", tmp_path / "longer.toml", "--out", older.path, "--workers", 1)
    assert done.code == 0
    assert f"{len(constant)} run(s) had ended with fewer steps; their rows are taken over." in done.err + done.out
    assert ("go on from where a smaller max_steps had left them" in done.err + done.out) == has_states
    assert ("begin anew: no state of theirs serves" in done.err + done.out) != has_states
    assert {*planned(older)} <= older.recorded()
    assert cli("verify", older.path).out.count("broken") == 0


def test_compaction_makes_parts_of_this_version_with_the_same_rows(older: Store, cli: Callable[..., Any]) -> None:
    before = {table: rows(older, table) for table in TABLES}
    assert cli("compact", older.path).code == 0
    assert {table: rows(older, table) for table in TABLES} == before
    for table in TABLES:
        (part,) = older.parts(table)
        assert schema_version(part) == SCHEMA_VERSION


@pytest.mark.slow
def test_every_run_replays_to_what_was_recorded(older: Store, unchecked_shapes: None) -> None:
    measure = Spec.read(older.spec_path).measure
    moments, weights = rows(older, "trajectories"), rows(older, "weights")
    for (run_id, _), row in rows(older).items():
        again = {table: found.to_pylist() for table, found in train_alone(older, row, measure, print).items()}
        near = near_to(1e-9 if row["dtype"] == "float64" else 1e-4)
        for name, old, new, _ in difference(row, again["runs"][0]):
            assert near(old, new), (run_id, name, old, new)
        assert len(again["trajectories"]) == row["moments"]
        for moment in again["trajectories"]:
            recorded = moments[run_id, moment["step"]]
            # the residual of an eigenvalue that is known to rounding is rounding itself
            assert all(near(recorded[name], moment[name]) for name in recorded if name != "sharpness_residual"), (
                run_id, recorded, moment,
            )  # fmt: skip
        for trained in again["weights"]:
            recorded = weights[run_id, None]
            assert all(near(recorded[name], trained[name]) for name in ("run_id", *WEIGHTS)), run_id


def near_to(rel: float) -> Callable[[Any, Any], bool]:
    """Equal: numbers to within `rel`, whatever processor trained them, and all else exactly."""

    def near(old: Any, new: Any) -> bool:
        if isinstance(old, float) and isinstance(new, float):
            return math.isclose(old, new, rel_tol=rel, abs_tol=rel * 1e-3)
        if isinstance(old, list) and isinstance(new, list):
            return len(old) == len(new) and all(map(near, old, new))
        return type(old) is type(new) and old == new

    return near


@pytest.mark.slow
def test_runs_are_exported_with_the_weights_that_were_saved(
    older: Store, cli: Callable[..., Any], tmp_path: Path
) -> None:
    for (run_id, _), weights in rows(older, "weights").items():
        done = cli("export", older.path, run_id, tmp_path / "run.npz")
        assert (done.code, done.err) == (0, "")
        with np.load(tmp_path / "run.npz") as file:
            for name in WEIGHTS:
                assert (file[name].ravel().tolist() if name in file else None) == weights[name]
            assert json.loads(str(file["record"]))["run_id"] == run_id


@pytest.mark.slow
def test_report_is_written_of_all_runs(older: Store, cli: Callable[..., Any]) -> None:
    done = cli("report", older.path)
    assert (done.code, done.err) == (0, "")
    assert f"{len(older.recorded())} runs" in (older.path / "report" / "index.html").read_text()


def test_checkpoint_without_a_later_parameter_is_resumed_and_its_runs_are_recorded_with_the_default(
    tmp_path: Path, unchecked_shapes: None
) -> None:
    shared = {"problem": "sine", "d": 2, "n": 8, "n_test": 4, "width": 4, "max_steps": 600, "optimizer": "adam"}
    pack = Pack(tuple(Run.model_validate(shared | {"lr": lr}) for lr in (0.01, 1e150)))
    path, later = tmp_path / "pack.pt", ("noise", "decay_bias", "dtype", "radius")

    def stop(progress: Any) -> None:
        if progress.ended["diverged"] and progress.step < 600:
            raise Interrupted

    with pytest.raises(Interrupted):
        execute(pack, Measure(), torch.device("cpu"), "local", checkpoint=path, heartbeat=stop)
    saved = load_checkpoint(path)
    assert saved is not None
    reached = saved["training"]["step"]
    assert [row["status"] for row in saved["harvest"]["runs"]] == ["diverged"]
    for row in (*saved["runs"], *saved["harvest"]["runs"]):
        for name in later:
            row.pop(name, None)  # one that has its default is not written
    torch.save(saved, path)
    again = Pack(tuple(Run.model_validate(run) for run in saved["runs"]))  # as the launcher reads it
    assert again.id == pack.id
    seen: list[int] = []
    tables = execute(
        again,
        Measure(),
        torch.device("cpu"),
        "local",
        checkpoint=path,
        heartbeat=lambda progress: seen.append(progress.step),
    )
    assert min(seen) >= reached > 0
    store = Store.create(tmp_path / "store")
    store.write(again.id, tables, {})
    (part,) = store.parts()
    found = pq.read_table(part)
    assert sorted(found["run_id"].to_pylist()) == sorted(run.id for run in pack.runs)
    values = {tuple(row.values()) for row in found.select(["noise", "decay_bias", "dtype"]).to_pylist()}
    assert values == {(0.0, False, "float64")}


# A version of tomorrow -----------------------------------------------------------------------------------------------

FIELDS = {
    "jitter": 'jitter: NonNegative = Field(default=0.25, description="of the steps")',
    "edge": 'edge: Positive | None = Field(default=None, description="of what only some problems have")',
    "tempo": 'tempo: Literal["constant", "cosine"] = Field(default="constant", description="of the training")',
}
LOADED = """
import json, sys
from relusweep.analysis.table import load
from relusweep.sweep.record import SCHEMA_VERSION
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store
from relusweep.sweep.tally import Tally

store = Store.open(sys.argv[1])
rows, broken = store.read()
tally = Tally.of(Spec.read(store.spec_path), store)
tally.look()
table = load([store.path])
print(json.dumps({
    "version": SCHEMA_VERSION, "rows": rows.to_pylist(), "broken": len(broken), "missing": len(tally.missing),
    "loaded": table.runs.select("run_id", "jitter", "edge", "tempo").to_dicts(),
}))
"""


@pytest.fixture(params=[True, False], ids=["version-raised", "version-forgotten"])
def tomorrow(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """A copy of the code in which a run has three parameters more, one of them in the middle; runs Python with it."""
    copy = tmp_path / "tomorrow"
    for name in ("relusweep", "sweep", "cluster", "analysis"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True)  # what is compiled comes along
    edit(copy / "sweep" / "run.py", "    warmup_steps: Whole", *FIELDS.values())
    if request.param:
        raised = f"SCHEMA_VERSION = {SCHEMA_VERSION}"
        path = copy / "sweep" / "record.py"
        path.write_text(path.read_text().replace(raised, f"SCHEMA_VERSION = {SCHEMA_VERSION + 1}", 1))

    def python(*arguments: object) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path, check=False,
            env=os.environ | {"PYTHONPATH": str(copy)}, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    return python


def edit(path: Path, before: str, *lines: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, "".join(f"    {line}\n" for line in lines) + before))


@pytest.mark.slow
def test_parameters_that_are_added_tomorrow_have_their_defaults_in_stores_of_today(
    older: Store, tomorrow: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    defaults = {"jitter": 0.25, "edge": None, "tempo": "constant"}
    before = rows(older)

    def seen() -> dict[str, Any]:
        found = json.loads(tomorrow("-c", LOADED, older.path).stdout)
        assert (found["broken"], found["missing"]) == (0, 0)
        for row in found["rows"]:
            if (row["run_id"], None) in before:
                assert row == before[row["run_id"], None] | defaults
        for row in found["loaded"]:
            new = {"jitter": 0.5} if (row["run_id"], None) not in before else {}
            assert row == {"run_id": row["run_id"]} | defaults | new
        return found

    assert len(seen()["rows"]) == len(before)
    relusweep = ("-m", "relusweep")
    smallest = min((row for row in before.values() if row["loss"]), key=lambda row: row["d"] * row["n"])["run_id"]
    shown = tomorrow(*relusweep, "replay", older.path, smallest).stdout
    assert f"run {smallest}, recorded in a pack of" in shown
    gaps = [float(line.split()[-1]) for line in shown.splitlines() if len(line.split()) == 4]
    assert len(gaps) > 5
    assert max(gaps) < 1e-6
    done = tomorrow(
        *relusweep, "run", extended(older, tmp_path, ", jitter = [0.5]"), "--out", older.path, "--workers", 1
    )
    assert done.stderr == ""
    assert len(seen()["rows"]) == len(before) + 2
    assert not any((older.path / "aside").iterdir())
    tomorrow(*relusweep, "report", older.path)
    assert f"{len(before) + 2} runs" in (older.path / "report" / "index.html").read_text()
    tomorrow(*relusweep, "compact", older.path)
    assert len(seen()["rows"]) == len(before) + 2
    assert [part.name.split("-")[0] for part in older.parts()] == ["compact"]
