"""A slice of the campaign that `make chaos` runs in full, and proof that it would see what it is to see."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from chaos import earlier
from chaos.campaign import Campaign
from chaos.outcomes import Outcomes, Tally
from chaos.scene import Scene
from chaos.silence import MOST_SECONDS, Silence
from chaos.stages import BACKENDS, STAGES
from chaos.sweep import Sweep, Sweeps
from chaos.table import differences

pytestmark = pytest.mark.slow

_SECONDS = 40.0  # after which no fault is injected


@pytest.fixture(autouse=True)
def _at_leisure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let launchers be silent for longer than `make chaos` does: the machine may be busy with other tests."""
    monkeypatch.setattr(Scene, "most_silent", 10 * MOST_SECONDS)


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    return Sweeps(tmp_path_factory.mktemp("chaos"))


@pytest.fixture(scope="module")
def sweep(sweeps: Sweeps) -> Sweep:
    return sweeps.lasting(0.6)


def test_sweeps_that_met_faults_have_the_table_of_an_undisturbed_one(sweeps: Sweeps, tmp_path: Path) -> None:
    outcomes = Campaign(tmp_path, {"local": STAGES["local"]}, seed=0, sweeps=sweeps).play(_SECONDS)
    assert outcomes.broken() == {}
    assert outcomes.injected >= 1
    assert outcomes.lines()[-1] == f"**{outcomes.injected} faults in all; none broke anything.**"


@pytest.mark.parametrize(("stage", "fault"), [("slurm", "scontrol requeue"), ("ray", "kill -9 of a worker")])
def test_sweep_on_a_cluster_that_met_one_has_it_too(sweeps: Sweeps, tmp_path: Path, stage: str, fault: str) -> None:
    if reason := STAGES[stage].lacking():
        pytest.skip(reason)
    outcomes = Campaign(tmp_path, {stage: STAGES[stage]}, seed=0, only=fault, sweeps=sweeps).play(1)
    assert outcomes.broken() == {}
    assert outcomes.injected == 1


def test_every_stage_belongs_to_a_back_end_and_has_faults() -> None:
    assert sorted(name for names in BACKENDS.values() for name in names) == sorted(STAGES)
    assert all(stage.faults and callable(fault) for stage in STAGES.values() for fault in stage.faults.values())
    assert sum(stage.share for stage in STAGES.values()) == pytest.approx(1.0)
    assert all(STAGES[name].share <= 0.2 for name in ("slurm", "ray"))


def test_stage_that_cannot_be_is_left_out_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(earlier, "ROOT", tmp_path)
    name = "an earlier version beside"
    outcomes = Campaign(tmp_path, {name: STAGES[name]}, seed=0).play(0.0)
    reason = f"no {earlier.UNFENCED} in the history of this checkout"
    assert capsys.readouterr().out == f"{name}: not disturbed: {reason}\n"
    assert outcomes.lines()[:3] == [f"## {name}", "", f"Not disturbed: {reason}."]


def test_silence_is_seen_and_a_scene_that_had_too_much_of_it_does_not_hold(
    sweep: Sweep, tmp_path: Path, until: Callable[..., Any]
) -> None:
    log = tmp_path / "log"
    log.touch()
    with Silence(log, tmp_path / "store", lambda: True) as silence:
        until(lambda: silence.longest >= 1)
    scene = Scene(tmp_path / "scene", sweep, random.Random(0), own_disk=False)
    scene.silence = scene.most_silent
    assert scene.silent() == []
    scene.silence += 1
    assert scene.silent() == ["no sign of life for 601 s"]


def test_silence_without_a_launcher_does_not_count(tmp_path: Path, until: Callable[..., Any]) -> None:
    asked: list[bool] = []
    with Silence(tmp_path / "log", tmp_path / "store", lambda: bool(asked.append(True))) as silence:
        until(lambda: len(asked) > 2)
    assert silence.longest == 0.0


def test_what_broke_stands_in_the_table() -> None:
    tally = Tally(injected=2, broken=["runs: 1 rows lost"])
    tally.codes.update([0, -9])
    lines = Outcomes({"local": {"a fault": tally, "another": Tally()}}, silence={"local": 12.3}).lines()
    assert "| a fault | 2 | -9 (1), 0 (1) | runs: 1 rows lost |" in lines
    assert "| **all** | **2** | | 1 kinds |" in lines
    assert "The longest time without a sign of life: 12 s." in lines
    assert lines[-1] == "**2 faults in all; 1 kinds broke anything.**"


@pytest.fixture
def copy(sweep: Sweep, tmp_path: Path) -> Callable[[Callable[[Any], Any]], Path]:
    """Copy the undisturbed table of runs, changed by a function."""

    def make(change: Callable[[Any], Any]) -> Path:
        store = tmp_path / "copy"
        for name in ("runs", "trajectories", "weights"):
            (store / name).mkdir(parents=True)
            rows = pq.read_table(sweep.undisturbed / name, partitioning=None)
            pq.write_table(change(rows) if name == "runs" else rows, store / name / "part.parquet")
        return store

    return make


def test_a_row_that_is_lost_doubled_or_changed_in_the_last_bit_is_seen(
    sweep: Sweep, copy: Callable[[Callable[[Any], Any]], Path]
) -> None:
    assert differences(copy(lambda rows: rows), sweep.undisturbed) == []


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
    change: Any, difference: str, sweep: Sweep, copy: Callable[[Callable[[Any], Any]], Path]
) -> None:
    assert differences(copy(change), sweep.undisturbed) == [difference]


def test_what_is_left_behind_is_seen(sweep: Sweep, tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", sweep, random.Random(0), own_disk=False)
    with scene.set_up():
        scene.finish()
        assert scene.violations() == []
        (scene.store / "claims" / "stray").touch()
        (scene.store / "claims" / ".young.tmp").touch()
        scene.log.write_text("Traceback (most recent call last):\n")
        assert scene.violations() == [f"left behind: {scene.store}/claims/stray", "a traceback"]
