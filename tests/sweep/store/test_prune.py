"""Prune: what is named stays, what is not is kept aside, whenever it is killed."""

import pytest

from relusweep.sweep.store.prune import prune, unnamed
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import TABLES, Store
from tests.sweep.store.conftest import rows
from tests.sweep.store.killed import killed


@pytest.fixture
def store(tmp_path):
    """A pack without moments, and one with moments and weights."""
    made = Store.create(tmp_path / "store")
    made.write("a", {"runs": rows(0, 1, moments=0, weights_saved=False)}, {})
    later = rows(2, 3, moments=1, weights_saved=True)
    moments = [{"run_id": row["run_id"], "step": 1, "loss": 0.5} for row in later]
    weights = [{"run_id": row["run_id"], "w1": [1.0]} for row in later]
    made.write("b", {"runs": later, "trajectories": moments, "weights": weights}, {})
    return made


def found(store):
    """Seeds of the runs of each table."""
    seeds = {row["run_id"]: seed for seed, row in enumerate(rows(*range(4)))}
    return {table: sorted(seeds[run_id] for run_id in store.run_ids(table)) for table in TABLES}


def test_what_is_named_stays_in_every_table(store):
    named = RunIds(row["run_id"] for row in rows(1, 2))
    assert {table: len(ids) for table, ids in unnamed(store, named).items()} == {
        "runs": 2, "trajectories": 1, "weights": 1
    }  # fmt: skip
    prune(store, named)
    assert found(store) == {"runs": [1, 2], "trajectories": [2], "weights": [2]}
    assert not any(unnamed(store, named).values())
    assert not any(store.broken(table) for table in TABLES)
    assert store.ledger().promised("weights") == {row["run_id"] for row in rows(2)}


@pytest.mark.slow
def test_pruning_that_is_killed_between_any_two_steps_is_finished_by_the_next(store, tmp_path):
    ids = [row["run_id"] for row in rows(1, 2)]
    copies = killed(store, tmp_path, "prune", *ids)
    assert len(copies) > 8
    for copy in copies:
        before = found(copy)
        assert set(before["runs"]) >= {1, 2}
        assert 2 in before["trajectories"]
        assert 2 in before["weights"]
        prune(copy, RunIds(ids))
        assert found(copy) == {"runs": [1, 2], "trajectories": [2], "weights": [2]}
