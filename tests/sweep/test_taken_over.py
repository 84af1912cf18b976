"""Taken over: what had ended before a smaller max_steps has the row that it would have with a larger one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from relusweep.sweep import taken_over
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.lease import leased
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store
from relusweep.sweep.taken_over import take_over

GRID = "lr = [0.05, 0.1, 2.5], seed = [0, 1], width = [3, 4]"


@pytest.fixture
def ended(cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[Spec, Store]]:
    """Train runs that all end early, and return the spec with more steps."""

    def make(max_steps: int = 2000, measure: str = "", then: str | None = None, **given: Any) -> tuple[Spec, Store]:
        given = {"grid": GRID, "tolerance": 10.0} | given
        run = ("--out", tmp_path / "store", "--workers", 1)
        assert cli("run", tiny(max_steps=max_steps, measure=measure, **given), *run).code == 0
        longer = tiny(max_steps=5000, measure=measure if then is None else then, **given)
        return Spec.read(longer), Store(tmp_path / "store")

    return make


def taken(spec: Spec, store: Store) -> int:
    return take_over(spec, store, spec_ids(spec) - store.recorded(), 0.0)


def spec_ids(spec: Spec) -> RunIds:
    return RunIds(run.id for run in spec.expand())


def test_rows_are_taken_over_once_with_their_moments_and_weights(
    ended: Callable[..., tuple[Spec, Store]], cli: Callable[..., Any], rows_on_disk: Callable[..., Any]
) -> None:
    spec, store = ended(measure="every = 'tail:2'\nsave_weights = true")
    before = rows_on_disk(store.path)
    assert before["runs"] == 12
    assert taken(spec, store) == 12
    assert taken(spec, store) == 0
    assert rows_on_disk(store.path)["weights"] == 2 * before["weights"] > 0
    assert spec_ids(spec) <= store.recorded()
    assert cli("verify", store.path).code == 0
    rows = store.read()[0].to_pylist()
    longer = {(row["lr"], row["seed"], row["width"]): row for row in rows if row["max_steps"] == 5000}
    for row in rows:
        if row["max_steps"] == 2000:
            other = longer[row["lr"], row["seed"], row["width"]]
            assert {key for key in row if row[key] != other[key]} <= {"max_steps", "run_id", "moments"}


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"then": "every = 'log:9'"}, 0),
        ({"then": "save_weights = true"}, 4),  # those that have diverged have no weights
        ({"then": "extra = ['trace']"}, 4),  # nor measures
        ({"schedule": "'linear'"}, 0),
        ({"tolerance": 0.0, "grid": "lr = [0.05]"}, 0),
    ],
    ids=str,
)
def test_what_was_not_recorded_or_would_differ_is_not_taken(
    ended: Callable[..., tuple[Spec, Store]], given: dict[str, Any], count: int
) -> None:
    assert taken(*ended(**given)) == count


def test_end_at_a_step_where_the_longer_run_is_not_looked_at_is_not_taken(
    ended: Callable[..., tuple[Spec, Store]],
) -> None:
    spec, store = ended(max_steps=950, grid="lr = [0.05, 2.5]")  # the fifth check is the one at the end
    (still,) = [row for row in store.read()[0].to_pylist() if row["status"] == "converged"]
    assert still["steps"] == 950
    assert taken(spec, store) == 1


def test_what_others_train_or_have_recorded_meanwhile_is_left_to_them(
    ended: Callable[..., tuple[Spec, Store]], rows_on_disk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, store = ended()
    missing = spec_ids(spec) - store.recorded()
    some = sorted(missing)[:2]
    with leased(store, "another", some):
        assert take_over(spec, store, missing, 0.0) == 0
    monkeypatch.setattr(taken_over, "MAX_RUNS", 5)
    assert take_over(spec, store, missing, 0.0) == 12
    assert take_over(spec, store, missing, 0.0) == 0, "which is seen before it is recorded again"
    assert rows_on_disk(store.path)["runs"] == 24
    assert len([path for path in store.parts() if pq.read_metadata(path).num_rows <= 5]) >= 3


@pytest.mark.parametrize("names", ["'trace', 'spectrum'", "'trace', 'spectrum', 'distance'"])
def test_extra_measures_are_taken_over_where_they_are_all_there(
    ended: Callable[..., tuple[Spec, Store]], cli: Callable[..., Any], names: str
) -> None:
    spec, store = ended(measure="extra = ['trace', 'spectrum']", then=f"extra = [{names}]")
    assert cli("compact", store.path).code == 0
    if "distance" in names:
        assert taken(spec, store) == 4, "what has diverged has no measures"
        return
    assert taken(spec, store) == 12
    tables = [pq.read_table(path) for path in store.parts()]
    longer = [row for table in tables for row in table.to_pylist() if row["max_steps"] == 5000]
    assert {len(row["spectrum"]) for row in longer if row["status"] == "converged"} == {13, 17}


@pytest.mark.parametrize(("then", "count"), [("largest", 12), ("other", 4), ("changed", 4)])
def test_measures_of_the_users_are_taken_over_where_the_very_same_function_made_them(
    ended: Callable[..., tuple[Spec, Store]], tmp_path: Path, then: str, count: int
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import torch\n"
        "def largest(networks): return torch.stack([networks.residuals.amax(1), networks.residuals.amin(1)], 1)\n"
        "def other(networks): return networks.residuals.amax(1)\n"
    )
    asked = "extra = ['mine.py:{}']"
    spec, store = ended(measure=asked.format("largest"), then=asked.format("other" if then == "other" else "largest"))
    if then == "changed":
        mine.write_text(mine.read_text() + "# another file\n")
        spec = Spec.read(tmp_path / "tiny.toml")
    assert taken(spec, store) == count, "what has diverged has no measures"
    longer = [row for row in store.read()[0].to_pylist() if row["max_steps"] == 5000]
    assert len(longer) == count
    if then == "largest":
        again = Spec.read(tmp_path / "tiny.toml")
        more = tmp_path / "more.toml"
        more.write_text((tmp_path / "tiny.toml").read_text().replace("5000", "7000"))
        assert taken(Spec.read(more), store) == 12, "and so are rows that were taken over themselves"
        assert spec_ids(again) <= store.recorded()
