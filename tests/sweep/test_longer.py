"""Longer: what goes on after its max_steps was raised is bit for bit what was trained at once."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from relusweep.sweep import longer, states
from relusweep.sweep.checkpoint import load_checkpoint, write_checkpoint
from relusweep.sweep.record import CIRCUMSTANCES
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import TABLES, Store

GRID = "lr = [0.05, 0.1, 2.5], seed = [0, 1], width = [3, 4]"  # the largest diverges
SETTINGS: dict[str, dict[str, Any]] = {
    "gd": {},
    "float32": {"dtype": "'float32'"},
    "adam": {"optimizer": "'adam'"},
    "momentum": {"optimizer": "'momentum'", "warmup_steps": 500},
    "sgd": {"optimizer": "'sgd'", "batch_size": 2, "sampling": "'epoch'"},
    "label noise": {"label_noise": 0.1},
    "two hidden layers": {"depth": 2, "width2": 3},
    "step": {"schedule": "'step'", "schedule_every": 150},
    "ends between two checks": {},
}


def rows(store: Path) -> dict[str, list[dict[str, Any]]]:
    """What is recorded, bit for bit, of the runs that a store's spec names."""
    named = {run.id for run in Spec.read(store / "spec.toml").expand()}
    found = {}
    for table in TABLES:
        some = [row for part in (store / table).glob("*.parquet") for row in pq.read_table(part).to_pylist()]
        some = [
            {key: str(value) for key, value in row.items() if key not in CIRCUMSTANCES}
            for row in some
            if row["run_id"] in named
        ]
        found[table] = sorted(some, key=lambda row: (row["run_id"], int(row.get("step", 0))))
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_table_is_that_of_one_long_training(
    name: str, cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    first = 350 if "between" in name else 400
    given = {"grid": GRID, "tolerance": 1e-3, "measure": "every = 'tail:3'\nsave_weights = true"} | SETTINGS[name]
    run = ("--workers", 1, "--out")
    assert cli("run", tiny(max_steps=first, **given), *run, tmp_path / "twice").code == 0
    said = cli("run", tiny(max_steps=1000, **given), *run, tmp_path / "twice")
    assert said.code == 0
    assert "runs go on from where a smaller max_steps had left them" in said.err + said.out
    assert cli("run", tiny(max_steps=1000, **given), *run, tmp_path / "once").code == 0
    assert rows(tmp_path / "twice") == rows(tmp_path / "once")


@pytest.fixture
def ready(cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[Spec, Store]]:
    """Train with 400 steps, and return the spec with more."""

    def make(more: int = 1000, measure: str = "", **given: Any) -> tuple[Spec, Store]:
        assert cli("run", tiny(tolerance=0.0, **given), "--out", tmp_path / "store", "--workers", 1).code == 0
        return Spec.read(tiny(max_steps=more, measure=measure, tolerance=0.0, **given)), Store(tmp_path / "store")

    return make


def going_on(spec: Spec, store: Store, size: int = 100) -> list[int]:
    free = RunIds(run.id for run in spec.expand())
    return [len(pack.runs) for pack in longer.packs(spec, store, free, lambda run: size)]


def test_checkpoints_say_where_the_runs_stand(ready: Callable[..., tuple[Spec, Store]]) -> None:
    spec, store = ready()
    assert going_on(spec, store, 3) == [3, 1]
    for path in store.checkpoints():
        saved = load_checkpoint(path)
        assert saved
        assert (saved["training"]["step"], saved["handled"]) == (400, 400)
        assert {run["max_steps"] for run in saved["runs"]} == {1000}


@pytest.mark.parametrize(
    "given",
    [
        {"schedule": "'cosine'"},
        {"schedule": "'linear'"},
        {"measure": "every = 'log:9'"},
        {"more": 400},
        {"more": 300},
    ],
    ids=str,
)
def test_what_would_not_be_the_same_begins_anew(
    ready: Callable[..., tuple[Spec, Store]], given: dict[str, Any]
) -> None:
    assert going_on(*ready(**given)) == []


def test_runs_whose_state_is_lost_begin_anew(
    ready: Callable[..., tuple[Spec, Store]], cli: Callable[..., Any], tiny: Callable[..., Path]
) -> None:
    spec, store = ready()
    for path, _ in states.kept(store):
        path.write_bytes(path.read_bytes()[:-100])
    assert going_on(spec, store) == []
    assert cli("run", tiny(max_steps=1000, tolerance=0.0), "--out", store.path, "--workers", 1).code == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda saved: saved["training"]["state"].pop("theta"),
        lambda saved: saved["training"]["state"].update(theta=torch.zeros(4, 3)),
        lambda saved: saved["training"]["state"].update(passes=torch.zeros(4)),
        lambda saved: saved["training"]["state"].update(more=torch.zeros(4)),
        lambda saved: saved["training"].update(step=399),
        lambda saved: saved["training"].update(step=2000),
        lambda saved: saved.update(moments=[(1, torch.tensor([99]), torch.zeros(9, 1))]),
        lambda saved: saved.update(moments=[(1, torch.zeros(2), torch.zeros(9))]),
        lambda saved: saved.update(moments=[(1, torch.tensor([0, 1, 2, 3]), torch.zeros(2, 4))]),
        lambda saved: saved.update(runs=[run | {"file": 3} for run in saved["runs"]]),
        lambda saved: saved.update(runs=[run | {"lr": "x"} for run in saved["runs"]]),
        lambda saved: saved.update(seconds=math.nan),
    ],
)
def test_states_that_no_worker_has_written_do_no_harm(
    ready: Callable[..., tuple[Spec, Store]],
    cli: Callable[..., Any],
    tmp_path: Path,
    spoil: Callable[[dict[str, Any]], Any],
) -> None:
    spec, store = ready(measure="every = 'tail:1'")
    ((path, _),) = states.kept(store)
    saved = load_checkpoint(path)
    assert saved
    spoil(saved)
    write_checkpoint(path, saved)
    text = tmp_path / "longer.toml"
    text.write_text(spec.text)
    for place in (store.path, tmp_path / "once"):
        assert cli("run", text, "--out", place, "--workers", 1).code == 0
    assert rows(store.path) == rows(tmp_path / "once")


def test_of_two_states_the_later_one_is_gone_on_with(
    ready: Callable[..., tuple[Spec, Store]], cli: Callable[..., Any], tiny: Callable[..., Path]
) -> None:
    _, store = ready()
    for max_steps, step in ((600, 400), (1000, 600)):
        spec = Spec.read(tiny(max_steps=max_steps, tolerance=0.0))
        assert going_on(spec, store) == [4]
        assert {load_checkpoint(path)["training"]["step"] for path in store.checkpoints()} == {step}  # pyright: ignore[reportOptionalSubscript]
        assert cli("run", spec.place, "--out", store.path, "--workers", 1).code == 0


@pytest.mark.slow
def test_continuation_that_is_killed_again_and_again_loses_nothing(
    launch: Callable[..., Any],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., Any],
) -> None:
    store, given = tmp_path / "store", {"tolerance": 0.0, "grid": "lr = [0.01, 0.02], seed = [0, 1], width = [3, 4]"}
    assert cli("run", tiny(**given), "--out", store, "--workers", 1).code == 0
    spec = tiny(max_steps=1_500_000, **given)
    for _ in range(4):
        swept = launch("run", spec, "--out", store, "--workers", 2, "--checkpoint-minutes", 0)
        until(lambda: swept.poll() is not None or [*(store / "progress").glob("[!.]*.json")])  # noqa: B023
        swept.kill()
        swept.communicate()
    for place in (store, tmp_path / "once"):
        swept = launch("run", spec, "--out", place)
        assert swept.wait() == 0
    assert rows(store) == rows(tmp_path / "once")
    assert not [*Store(store).checkpoints(), *(store / "claims").iterdir()]
