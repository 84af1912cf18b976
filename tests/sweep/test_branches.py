"""Branches: runs begin where others were at a step, and need nothing but their own store afterwards."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relusweep.sweep.store.store import Store

KEPT = "every = 'log:5'\nsave_weights = 'moments'"  # steps 1, 4, 20, 89, 400
REFINED = {"refine": "parameter = 'lr'\ncolumn = 'status'", "grid": "lr = [0.1, 0.2], seed = [0, 1], width = [3, 4]"}
TRUNK = "lr = [0.1], seed = [0, 1], width = [3, 4]"


@pytest.fixture
def trunk(cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path) -> Path:
    """A store with the weights of moments."""
    spec = tiny("trunk", grid=TRUNK, measure=KEPT, tolerance=0.0)
    assert cli("run", spec, "--out", tmp_path / "trunk", "--workers", 1).code == 0
    return tmp_path / "trunk"


@pytest.fixture
def branch(tiny: Callable[..., Path]) -> Callable[..., Path]:
    """Write a spec that branches off."""

    def make(origin: str = "step = 89", measure: str = "save_weights = true", **given: Any) -> Path:
        given = {"grid": TRUNK, "tolerance": 0.0, "max_steps": 311} | given
        path = tiny("branch", measure=measure, **given)
        path.write_text(path.read_text() + f"\n[from]\nstore = 'trunk'\n{origin}\n")
        return path

    return make


def ends(store: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Weights at the end, by what tells runs apart."""
    opened = Store.open(store)
    rows = {row["run_id"]: row for row in opened.read()[0].to_pylist()}
    weights = opened.read("weights")[0].to_pylist()
    named = ((rows[row["run_id"]], row) for row in weights)
    return {(run["lr"], run["seed"], run["width"]): {k: row[k] for k in row if k != "run_id"} for run, row in named}


def test_branch_with_nothing_else_changed_ends_where_the_trunk_does(
    trunk: Path, branch: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    assert cli("run", branch(), "--out", tmp_path / "store", "--workers", 1).code == 0
    assert ends(tmp_path / "store") == ends(trunk)


def test_runs_branch_off_with_other_parameters_and_need_no_trunk_later(
    trunk: Path,
    branch: Callable[..., Path],
    cli: Callable[..., Any],
    tmp_path: Path,
    forget: Callable[[], None],
    rows_on_disk: Callable[..., Any],
) -> None:
    spec, store = branch("step = 20\nlr = 0.1", grid=TRUNK.replace("[0.1]", "[0.01, 0.1, 0.3]")), tmp_path / "store"
    assert "12" in cli("plan", spec, "--out", store).out
    assert cli("run", spec, "--out", store, "--workers", 1).code == 0
    assert rows_on_disk(store)["runs"] == 12
    assert len([*(store / "files").glob("*.weights.npz")]) == 4
    shutil.rmtree(trunk)
    forget()
    shutil.rmtree(store / "runs")
    (store / "runs").mkdir()
    assert cli("run", spec, "--out", store, "--workers", 1).code == 0, "again, from the store alone"
    forget()
    some = sorted(Store(store).recorded())[0]
    assert cli("replay", store, some).code == 0
    assert cli("export", store, some, tmp_path / "some.npz").code == 0
    assert cli("verify", store).code == 0
    assert np.load(tmp_path / "some.npz")["w1"].shape[1] == 2
    more = branch("step = 20\nlr = 0.1", grid=TRUNK.replace("[0, 1]", "[0, 1, 2]"))
    assert "trunk: no such directory" in cli("run", more, "--out", tmp_path / "other").err


def test_batches_begin_where_full_gradients_were(
    trunk: Path, branch: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    spec = branch("step = 400\noptimizer = 'gd'", optimizer="'sgd'", batch_size=2, max_steps=1)
    assert cli("run", spec, "--out", tmp_path / "store", "--workers", 1).code == 0
    begun, before = ends(tmp_path / "store"), ends(trunk)
    for key, weights in before.items():
        steps = [np.abs(np.subtract(begun[key][name], weights[name])).max() for name in ("w1", "b1", "w2")]
        assert 0 < max(steps) < 0.5


@pytest.mark.parametrize(
    ("origin", "given", "message"),
    [
        ("step = 21", {}, "trunk: no weights at step 21 of a run as .*lr = 0.1.*; expected them for each run"),
        ("step = 20\nlr = 0.7", {}, "trunk: no weights at step 20 of a run as .*lr = 0.7"),
        ("step = 20\nwidth = 3", {}, r"\[from\]: width; its weights are those of the same network. Leave it out"),
        ("step = 20\nmax_steps = 3", {}, r"\[from\]: max_steps; it takes any. Leave it out"),
        ("step = 20\nschedule = 'cosine'", {}, r"\[from\]: schedule = 'cosine' depends on max_steps"),
        ("step = 20\nbatch_size = 4", {}, r"\[from\]: batch_size = 4; gd takes all samples"),
        ("step = 20\nwidht = 3", {}, "from.widht: unknown parameter; did you mean `width`"),
        ("step = 20\nlr = 'x'", {}, "from.lr = 'x'; expected"),
        ("step = 0", {}, "from.step = 0; expected"),
        ("step = 20\nlr = 0.1", REFINED, ""),
        ("step = 20", REFINED, "expected lr, which they differ in, in"),
    ],
)
def test_what_is_not_there_or_makes_no_sense_is_one_line(
    trunk: Path, branch: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path, origin: str,
    given: dict[str, Any], message: str, forget: Callable[[], None],
) -> None:  # fmt: skip
    forget()
    spec = branch(origin, **given)
    said = cli("plan", spec, "--out", tmp_path / "store")
    assert said.code == (2 if message else 0), said
    if message:
        assert said.err.count("\n") == 1
        assert re.search(message, said.err), said.err
