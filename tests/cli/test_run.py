"""`relusweep run`: makes a store, resumes and extends it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweep.store import Store


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
