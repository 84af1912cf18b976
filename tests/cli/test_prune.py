"""`relusweep prune`"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store

KEPT = "every = 'log:3'\nsave_weights = true"


def test_what_no_spec_names_any_more_is_counted_and_set_aside(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, rows_on_disk: Callable[..., Any]
) -> None:
    both, one = "width = [2, 3], seed = [0, 1], lr = [0.1]", "width = [2], seed = [0, 1], lr = [0.1]"
    assert cli("run", tiny(grid=both, measure=KEPT, max_steps=9), "--out", "store", "--workers", 1).code == 0
    assert cli("prune", "store").out == "store: its spec names all runs that are recorded\n"
    small = tiny(grid=one, measure=KEPT, max_steps=9)
    assert cli("run", small, "--out", "store", "--workers", 1).code == 0
    before = rows_on_disk(Path("store"))
    said = cli("prune", "store")
    lines = said.out.splitlines()
    assert lines[0].startswith(
        "store: 2 runs are named by its spec no more: 2 in runs/, 2 in trajectories/, 2 in weights/; 1 states"
    )
    assert lines[-1] == (
        "relusweep report --all store shows the runs, relusweep prune --yes store sets all of it aside"
    )
    gone = {run.id for run in Spec.parse(tiny("gone", grid=both, max_steps=9).read_text(), "gone").expand()}
    gone -= {run.id for run in Spec.read(small).expand()}
    listed = [line for line in lines if "width = 3" in line]
    assert {line.split()[0] for line in listed} == gone
    assert all("lr = 0.1" in line for line in listed)
    assert len([line for line in lines if "store/states/" in line]) == 1
    assert rows_on_disk(Path("store")) == before
    assert (
        "2 recorded runs belong to an earlier spec of this store. relusweep prune store\n" in cli("verify", "store").out
    )
    said = cli("prune", "store", "--yes")
    assert said.code == 0
    assert said.out.endswith(
        "set aside: what was found is kept in store/aside, which nothing reads; deleting it frees the disk\n"
    )
    store = Store.open("store")
    assert store.recorded() == {run.id for run in Spec.read(small).expand()}
    assert rows_on_disk(Path("store")) == {"runs": 2, "trajectories": 6, "weights": 2}
    assert cli("verify", "store").out == "store: planned 2 = recorded 2 + missing 0\n"
    assert sorted(path.name.split("-")[0] for path in Path("store/aside").iterdir()) == [
        "runs",
        "states",
        "trajectories",
        "weights",
    ]


def test_nothing_is_taken_away_while_a_pack_may_be_in_training(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    assert cli("run", tiny(max_steps=9), "--out", "store", "--workers", 1).code == 0
    assert cli("run", tiny(grid="lr = [0.1], seed = [0]", max_steps=9), "--out", "store", "--workers", 1).code == 0
    (tmp_path / "store" / "claims" / "pack.json").write_text("{}")
    said = cli("prune", "store", "--yes")
    assert said.code == 2
    assert "store/claims/pack.json: a pack may be in training; expected none" in said.err
    assert len(Store.open("store").recorded()) == 4


def test_runs_that_refine_has_asked_for_are_named(cli: Callable[..., Any], tiny: Callable[..., Path]) -> None:
    from tests.conftest import FLIPS

    assert cli("run", tiny(**FLIPS), "--out", "store", "--workers", 1).code == 0
    assert len(Store.open("store").recorded()) == 6
    assert cli("prune", "store").out == "store: its spec names all runs that are recorded\n"
