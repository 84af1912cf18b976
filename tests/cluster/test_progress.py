"""Progress: what a look at a store shows of the workers, and in which words."""

from pathlib import Path

import pytest

from relusweep.cluster.progress import Snapshot, Watcher, duration, failed_packs, sentence
from relusweep.sweep.run import Run
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store
from relusweep.sweep.tally import Tally


def snapshot(**given: object) -> Snapshot:
    start = {
        "planned": 10, "recorded": {}, "in_packs": {}, "training": 0, "workers": 0, "run_steps_per_second": 0.0,
        "failed_packs": 0,
    }  # fmt: skip
    return Snapshot(**(start | given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"), (360000, "100 h 0 min"),
    ],
)  # fmt: skip
def test_duration_is_said_as_a_person_would(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_sentence_counts_what_is_recorded_and_what_has_ended_in_packs() -> None:
    where = snapshot(
        recorded={"converged": 3, "diverged": 1}, in_packs={"converged": 2, "budget": 0}, training=4, workers=2,
        run_steps_per_second=12345.6,
    )  # fmt: skip
    assert sentence(where, 200) == (
        "6/10 runs · 5 converged, 0 at budget, 1 diverged · 4 training on 2 worker(s) · 12,346 run-steps/s"
        " · 3 min 20 s left"
    )


def test_sentence_says_who_compiles() -> None:
    assert sentence(snapshot(training=4, workers=2, compiling=1), None) == (
        "0/10 runs · 0 converged, 0 at budget, 0 diverged · 4 training on 2 worker(s) · 1 compiling a program"
        " · 0 run-steps/s"
    )


def test_sentence_names_failed_packs_and_no_idle_workers() -> None:
    assert sentence(snapshot(recorded={"budget": 10}, failed_packs=2), None) == (
        "10/10 runs · 0 converged, 10 at budget, 0 diverged · 2 pack(s) failed"
    )


def test_time_left_is_unknown_before_a_run_has_ended(tmp_path: Path) -> None:
    watcher = Watcher(Tally(Store.create(tmp_path / "store"), RunIds(["aa" * 16, "bb" * 16])))
    assert watcher.seconds_left(watcher.look()) is None


def test_watcher_counts_a_part_once(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    runs = [Run(problem="sine", lr=0.1, seed=seed) for seed in range(3)]
    watcher = Watcher(Tally(store, RunIds(run.id for run in runs[:2])))  # the third is of an earlier spec
    for seed, run in enumerate(runs):
        row = run.model_dump() | {"run_id": run.id, "status": "budget", "steps": 1}
        store.write(f"pack{seed}", {"runs": [row]}, {})
        assert [watcher.look().recorded for _ in range(2)] == [{"budget": min(seed + 1, 2)}] * 2
    compact(store)
    assert watcher.look().recorded == {"budget": 2}


def test_what_is_said_of_many_packs_is_said_once():
    packs = [(f"{number:02}", 32, " on node1: killed" if number % 2 else ": no luck") for number in range(84)]
    assert [*failed_packs([*packs, ("99", 4, ": alone")])] == [
        "pack 00 of 32 runs and 41 more packs failed: no luck",
        "pack 01 of 32 runs and 41 more packs failed on node1: killed",
        "pack 99 of 4 runs failed: alone",
    ]
    assert next(failed_packs(packs[:3])) == "pack 00 of 32 runs and 1 more pack failed: no luck"
    assert [*failed_packs([])] == []
