"""Tally: exact, whatever happens to the parts meanwhile; and every part is read once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from relusweep.sweep import tally as tallies
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.repair import forget, set_aside
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store
from relusweep.sweep.tally import Tally

ROOT = Path(__file__).parent.parent.parent
RUNS = [Run.model_validate({"problem": "sine", "lr": 0.1, "seed": seed}) for seed in range(6)]


def rows(*seeds, status="budget"):
    return [RUNS[seed].model_dump() | {"run_id": RUNS[seed].id, "status": status} for seed in seeds]


@pytest.fixture
def store(tmp_path):
    made = Store.create(tmp_path / "store")
    made.write("a", {"runs": rows(0, 1)}, {})
    made.write("b", {"runs": rows(2, status="diverged")}, {})
    return made


@pytest.fixture
def tally(store):
    return Tally(store, RunIds(run.id for run in RUNS[1:5]))  # the first and the last belong to an earlier spec


@pytest.fixture
def read(monkeypatch):
    """Names of the parts that a tally reads, as often as it does."""
    names = []

    def noting(genuine):
        def reading(part, *columns):
            names.append(part.name)
            return genuine(part, *columns)

        return reading

    for function in ("outcomes", "pieces"):
        monkeypatch.setattr(tallies, function, noting(getattr(tallies, function)))
    return names


def missing(tally):
    tally.look()
    return [seed for seed, run in enumerate(RUNS) if run.id in tally.missing]


def test_planned_runs_are_counted_by_status(tally):
    assert missing(tally) == [3, 4]
    assert tally.by_status == {"budget": 1, "diverged": 1}


def test_part_is_read_once(tally, store, read):
    for _ in range(3):
        tally.look()
    store.write("c", {"runs": rows(3)}, {})
    for _ in range(3):
        assert missing(tally) == [4]
    assert read == ["pack-a.parquet", "pack-b.parquet", "pack-c.parquet"]


def test_run_in_two_parts_counts_once(tally, store):
    store.write("c", {"runs": rows(1, 2)}, {})
    assert missing(tally) == [3, 4]
    assert sum(tally.by_status.values()) == 2


def test_compaction_changes_nothing(tally, store):
    tally.look()
    compact(store)
    assert missing(tally) == [3, 4]
    assert tally.by_status == {"budget": 1, "diverged": 1}


def test_runs_of_a_part_that_was_set_aside_are_missing(tally, store):
    tally.look()
    set_aside(store, store.parts()[:1])
    assert missing(tally) == [1, 3, 4]


def test_run_that_was_forgotten_is_missing_though_its_part_has_the_old_name(tally, store):
    store.write("c", {"runs": rows(3, 4)}, {})
    assert missing(tally) == []
    forget(store, RunIds([RUNS[4].id]))
    assert len(store.parts()) == 3
    assert missing(tally) == [4]


def test_runs_of_a_broken_part_are_missing_until_it_is_written_again(tally, store):
    part = store.parts()[1]
    part.write_bytes(b"broken")
    assert missing(tally) == [2, 3, 4]
    store.write("b", {"runs": rows(2)}, {})
    assert missing(tally) == [3, 4]


@pytest.fixture
def refined():
    """A spec that asks for more runs where the error passes 1, and its runs."""
    spec = Spec.parse(
        "name = 'x'\n[fixed]\nproblem = 'sine'\n[[block]]\ngrid = { lr = [0.1, 1.6], seed = [0, 1] }\n"
        "[refine]\nparameter = 'lr'\ncolumn = 'train_rmse'\nthreshold = 1\nratio = 1.5",
        "x.toml",
    )
    return spec, list(spec.expand())


def row(run):
    """A row whose error is at most 1 up to lr = 0.5; beyond 1 the run diverges."""
    ended = {"status": "diverged"} if run.lr > 1 else {"status": "budget", "train_rmse": 2 * run.lr}
    return run.model_dump() | {"run_id": run.id} | ended


def train(tally, store):
    """Record what is asked for, until nothing is; returns how many runs there were each time."""
    rounds = []
    tally.look()
    while asked := list(tally.asked()):
        assert set(tally.missing) == {run.id for run in asked}
        rounds.append(len(asked))
        store.write(f"of-{asked[0].lr}", {"runs": [row(run) for run in asked]}, {})
        tally.look()
    assert not tally.missing
    return rounds


def test_runs_that_rows_ask_for_are_planned_until_the_outcome_is_pinned_down(refined, tmp_path):
    spec, runs = refined
    store = Store.create(tmp_path / "refined")
    tally = Tally.of(spec, store)
    tally.look()
    assert (tally.count, len(tally.missing), list(tally.asked())) == (4, 4, [])
    store.write("a", {"runs": [row(run) for run in runs[:3]]}, {})  # one group is whole, the other waits
    tally.look()
    assert (tally.count, len(tally.missing)) == (5, 2)
    store.write("b", {"runs": [row(runs[3])]}, {})
    assert train(tally, store) == [2, 2, 2]  # 0.4, 0.8, 0.565685
    assert tally.count == 4 + 6
    assert tally.by_status == {"budget": 8, "diverged": 2}


def test_who_looks_for_the_first_time_finds_what_is_asked_for_in_one_look(refined, tmp_path):
    spec, runs = refined
    store = Store.create(tmp_path / "refined")
    store.write("a", {"runs": [row(run) for run in runs]}, {})
    tally = Tally.of(spec, store)
    train(tally, store)
    late = Tally.of(spec, store)
    late.look()
    assert (late.count, late.by_status, len(late.missing)) == (tally.count, tally.by_status, 0)
    compact(store)
    for each in (tally, late):
        each.look()
        assert (each.count, each.by_status, len(each.missing)) == (10, {"budget": 8, "diverged": 2}, 0)


def test_row_that_is_lost_is_asked_for_again_and_what_followed_from_it_is_kept(refined, tmp_path):
    spec, runs = refined
    store = Store.create(tmp_path / "refined")
    store.write("a", {"runs": [row(run) for run in runs]}, {})
    tally = Tally.of(spec, store)
    train(tally, store)
    set_aside(store, [store.path / "runs" / "pack-of-0.8.parquet"])
    tally.look()
    assert sorted((run.lr, run.seed) for run in tally.asked()) == [(0.8, 0), (0.8, 1)]
    assert train(tally, store) == [2]  # the rows of the round after it are there still
    assert tally.count == 10


MEASURED = """
import resource, sys
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.repair import repair
from relusweep.sweep.store.store import Store
from relusweep.sweep.tally import Tally

def work(path):
    store = Store.open(path)
    repair(store)
    tally = Tally(store, store.recorded())
    tally.look()
    assert not tally.missing
    return len(tally.planned)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

few, many = sys.argv[1:]
small = work(few)
before = peak()
large = work(many)
print(1024 * (peak() - before) / (large - small))
"""


@pytest.mark.slow
def test_memory_grows_by_few_bytes_a_run(tmp_path):
    """Both stores have parts of the same size, so that what is measured is what each further run costs."""
    paths = [tmp_path / "few", tmp_path / "many"]
    for path, packs in zip(paths, (4, 100), strict=True):
        made = Store.create(path)
        for pack in range(packs):
            made.write(f"{pack}", {"runs": [_row(1000 * pack + number) for number in range(1000)]}, {})
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *paths], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 60  # a Python set of the ids takes 96, the rows 740


def _row(number):
    return RUNS[0].model_dump() | {"run_id": f"{number * 2**100 % 2**128:032x}", "status": "budget", "moments": 0}
