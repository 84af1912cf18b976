"""`relusweep run`: makes a store, resumes and extends it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from relusweep.analysis.table import load
from relusweep.sweep.store.store import Store
from tests.conftest import FLIPS


def test_same_command_again_trains_nothing(cli: Callable[..., Any], store: Path, tree: Callable[..., Any]) -> None:
    before = tree(store)
    said = cli("run", store / "spec.toml", "--out", store, "--workers", 1)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == f"{store}: all 4 runs are recorded. Next: relusweep report {store}"
    assert tree(store) == before


def test_default_store_is_named_for_the_sweep_and_closed_to_others(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    assert cli("run", tiny("mine", max_steps=1), "--workers", 1).code == 0
    assert len(Store.open(tmp_path / "results" / "mine").recorded()) == 4
    assert (tmp_path / "results" / "mine").stat().st_mode & 0o777 == 0o700


def test_more_seeds_train_only_what_is_new(
    cli: Callable[..., Any], tiny: Callable[..., Path], store: Path, rows_on_disk: Callable[..., Any]
) -> None:
    old = {path: path.read_bytes() for path in Store(store).parts()}
    more = tiny(grid="lr = [0.05, 1e6], seed = [0, 1, 2]", measure="every = 'log:3'\nsave_weights = true")
    assert "to train          2" in cli("plan", more, "--out", store).out
    assert cli("run", more, "--out", store, "--workers", 1).code == 0
    assert rows_on_disk(store)["runs"] == 6
    assert {path: path.read_bytes() for path in old} == old
    assert f"{store}: planned 6 = recorded 6 + missing 0" in cli("verify", store).out


def test_refined_sweep_is_planned_trained_counted_and_verified_with_the_runs_that_its_rows_ask_for(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, tree: Callable[..., Any]
) -> None:
    spec, out = tiny(**FLIPS), tmp_path / "store"
    lines = cli("plan", spec, "--out", out, "--workers", 1).out.splitlines()
    assert lines[0] == "runs              4"
    assert lines[-1].startswith("to follow         at most 2 runs in 1 round(s), about ")
    assert lines[-1].endswith("; 2 where the outcome flips once a group")
    said = cli("run", spec, "--out", out, "--workers", 1)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == f"{out}: all 6 runs are recorded. Next: relusweep report {out}"
    assert cli("verify", out).out == f"{out}: planned 6 = recorded 6 + missing 0\n"
    assert cli("status", out).out == "6/6 runs · 0 converged, 2 at budget, 4 diverged\n"
    before = tree(out)
    assert cli("run", spec, "--out", out, "--workers", 1).code == 0
    assert tree(out) == before

    (lost,) = [part for part in Store(out).parts() if 500.0 in pq.read_table(part)["lr"].to_pylist()]
    ids = pq.read_table(lost)["run_id"].to_pylist()
    lost.unlink()
    verified = cli("verify", out)
    assert verified.code == 1
    assert verified.out.startswith(f"{out}: planned 6 = recorded 4 + missing 2\nmissing: ")
    assert all(f"missing: {run_id}\n" in verified.out for run_id in ids)
    lines = cli("plan", spec, "--out", out, "--workers", 1).out.splitlines()
    assert lines[:3] == ["runs              6", "recorded already  4", "to train          2"]
    assert lines[-1] == "to follow         nothing"


def test_store_whose_making_was_interrupted_is_made_whole(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()  # a kill or a full disk came before store.json, which is written first
    (tmp_path / "store" / ".store.json.0123abcd.tmp").touch()
    said = cli("run", tiny(max_steps=1), "--out", "store", "--workers", 1)
    assert (said.code, said.err) == (0, "")
    assert len(Store.open(tmp_path / "store").recorded()) == 4


def test_sweep_of_another_name_is_refused(refused: Callable[..., str], tiny: Callable[..., Path], store: Path) -> None:
    line = refused("run", tiny("other"), "--out", store)
    assert f"{store}: holds the sweep 'tiny', got 'other'; choose another --out, or that name." in line


def test_asking_for_weights_of_recorded_runs_says_that_they_have_none(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "store"
    assert cli("run", tiny(max_steps=1), "--out", out, "--workers", 1).code == 0
    asked = tiny(max_steps=1, measure="save_weights = true")
    for command in (("run", asked, "--out", out, "--workers", 1), ("verify", out)):
        said = cli(*command)
        assert said.code == 0
        assert "4 runs were recorded before [measure] asked for weights; for theirs, use another --out" in said.out


def test_damaged_plan_of_a_store_is_replaced_by_the_next_run(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "store"
    assert cli("run", tiny(max_steps=1), "--out", out, "--workers", 1).code == 0
    (out / "spec.toml").write_text("x = [")
    assert cli("run", tiny(max_steps=1), "--out", out, "--workers", 1).code == 0
    assert cli("verify", out).code == 0


def test_nothing_of_the_environment_is_kept(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Footers and progress say where something was trained, and with what, and nothing that is secret there."""
    secret = "0fe1a9c3d2b84756"
    for name in ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "RELUSWEEP_SECRET"):
        monkeypatch.setenv(name, secret)
    store = tmp_path / "store"
    assert cli("run", tiny(measure="every = 'log:3'"), "--out", store, "--workers", 1).code == 0
    assert cli("report", store).code == 0
    files = [path for path in store.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    footers = [pq.read_schema(path).metadata for path in Store(store).parts()]
    assert footers
    assert not [footer for footer in footers if any(secret.encode() in value for value in footer.values())]
    folders = [store, *(path for path in store.rglob("*") if path.is_dir())]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def test_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = f"cd '{tmp_path}/gone' && rmdir ../gone && exec '{sys.executable}' -m relusweep run x.toml"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "relusweep: the current folder: No such file or directory. Change to another one.\n"


def test_extra_measures_are_columns_that_compaction_keeps(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("def largest(n): return n.residuals.abs().amax(1)\n")
    store = tmp_path / "store"
    run = ("--out", store, "--workers", 1)
    assert cli("run", tiny(grid="lr = [0.1], seed = [0, 1], width = [2, 3]"), *run).code == 0
    extra = "extra = ['trace', 'spectrum', 'mine.py:largest']"
    more = tiny(grid="lr = [0.1, 1e6], seed = [0, 1], width = [2, 3]", measure=extra)
    assert cli("run", more, *run).code == 0
    # what was recorded without them is not measured anew, and the others diverged
    assert "trace" not in load([store]).runs.columns
    assert cli("run", tiny(grid="lr = [0.1], seed = [0, 1, 2], width = [2, 3]", measure=extra), *run).code == 0
    runs = load([store]).runs
    assert runs["trace"].count() == runs["largest"].count() == 2
    (some,) = runs.filter(pl.col("trace").is_not_null(), width=3).select("spectrum").to_series().to_list()
    assert len(some) == 13
    assert cli("compact", store).code == cli("verify", store).code == 0
    assert load([store]).runs.equals(runs)
    assert pl.read_parquet(store / "runs" / "*.parquet").sort("run_id")["largest"].count() == 2


def test_extra_measure_that_fails_is_named_before_anything_is_trained(
    refused: Callable[..., str], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("def largest(n):\n    return n.residual\n")
    line = refused("run", tiny(measure="extra = ['mine.py:largest']"), "--out", tmp_path / "store")
    assert "mine.py, line 2: AttributeError: " in line
    assert not (tmp_path / "store").exists()


def test_weights_of_moments_are_read_with_them_and_kept_by_compaction(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    store, grid = tmp_path / "store", "lr = [0.1], seed = [0, 1], width = [2, 3]"
    measure = "every = 'log:3'\nsave_weights = 'moments'"
    assert cli("run", tiny(grid=grid, measure=measure, tolerance=0.0), "--out", store, "--workers", 1).code == 0
    moments = load([store]).trajectories
    assert moments["w1"].list.len().sort().to_list() == 6 * [4] + 6 * [6]
    last = moments.filter(step=400).sort("run_id")
    assert last["w2"].to_list() == pl.read_parquet(store / "weights" / "*.parquet").sort("run_id")["w2"].to_list()
    assert cli("compact", store).code == cli("verify", store).code == 0
    assert load([store]).trajectories.equals(moments)
    assert "w1" not in load([store], moments=["loss"]).trajectories.columns
