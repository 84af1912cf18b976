"""What tests of the store share: rows as packs record them, and a store of two packs."""

import pytest

from relusweep.sweep.run import Run
from relusweep.sweep.store.store import Store


def rows(*seeds, **columns):
    """Rows of the table `runs`, one a seed."""
    runs = [Run.model_validate({"problem": "sine", "lr": 0.1, "seed": seed}) for seed in seeds]
    return [run.model_dump() | {"run_id": run.id, "status": "budget", "loss": 0.5} | columns for run in runs]


@pytest.fixture
def store(tmp_path):
    """A store of two packs, seeds 0 to 2 and 3 to 4."""
    made = Store.create(tmp_path / "store")
    made.write("a", {"runs": rows(0, 1, 2)}, {"device": "cpu"})
    made.write("b", {"runs": rows(3, 4)}, {})
    return made
