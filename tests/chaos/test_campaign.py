"""A slice of the campaign that `make chaos` runs in full, and proof that it would see what it is to see."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from chaos.__main__ import campaign, prepared, table
from chaos.faults import FAULTS
from chaos.scene import Scene
from chaos.table import differences

_SECONDS = 120.0  # after which no scene begins


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return prepared(tmp_path_factory.mktemp("chaos"))


def test_sweeps_that_met_faults_have_the_table_of_an_undisturbed_one(sweep: tuple[Path, Path], tmp_path: Path) -> None:
    tallies = campaign(tmp_path, *sweep, [*FAULTS], seed=0, seconds=_SECONDS)
    assert {name: tally.broken for name, tally in tallies.items() if tally.broken} == {}
    assert sum(tally.injected for tally in tallies.values()) >= 8
    assert table(tallies)[-1].endswith("| | none |")


@pytest.fixture
def copy(sweep: tuple[Path, Path], tmp_path: Path) -> Callable[[Callable[[Any], Any]], Path]:
    """Copy the undisturbed table of runs, changed by a function."""

    def make(change: Callable[[Any], Any]) -> Path:
        store = tmp_path / "copy"
        for name in ("runs", "trajectories", "weights"):
            (store / name).mkdir(parents=True)
            rows = pq.read_table(sweep[1] / name, partitioning=None)
            pq.write_table(change(rows) if name == "runs" else rows, store / name / "part.parquet")
        return store

    return make


def test_a_row_that_is_lost_doubled_or_changed_in_the_last_bit_is_seen(
    sweep: tuple[Path, Path], copy: Callable[[Callable[[Any], Any]], Path]
) -> None:
    assert differences(copy(lambda rows: rows), sweep[1]) == []


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda rows: rows.slice(1), "runs: 1 rows lost"),
        (lambda rows: rows.take([*range(len(rows)), 0]), "runs: 1 rows doubled"),
        (lambda rows: rows.set_column(
            rows.column_names.index("loss"), "loss", [[rows["loss"][0].as_py() * (1 + 2**-52), *rows["loss"].to_pylist()[1:]]]
        ), "runs: 1 rows changed"),
    ],
)  # fmt: skip
def test_differences_are_named(
    change: Any, difference: str, sweep: tuple[Path, Path], copy: Callable[[Callable[[Any], Any]], Path]
) -> None:
    assert differences(copy(change), sweep[1]) == [difference]


def test_what_is_left_behind_is_seen(sweep: tuple[Path, Path], tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", *sweep, random.Random(0), own_disk=False)
    with scene.set_up():
        scene.finish()
        assert scene.violations() == []
        (scene.store / "claims" / "stray").touch()
        (scene.store / "claims" / ".young.tmp").touch()
        scene.log.write_text("Traceback (most recent call last):\n")
        assert scene.violations() == [f"left behind: {scene.store}/claims/stray", "a traceback"]
