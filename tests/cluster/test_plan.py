"""Plan: every run is looked at before anything is trained, and what it would take is counted."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from relusweep.cluster.backend import Assignment, BackendError, Outcome, backend
from relusweep.cluster.local.backend import Local
from relusweep.cluster.plan import check, count
from relusweep.sweep.data import DataError
from relusweep.sweep.pack import Pack
from relusweep.sweep.probe import Cost
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure, Spec
from relusweep.sweep.spec_error import SpecError


def test_check_counts_every_run_once(tiny: Callable[..., Path]) -> None:
    path = tiny(grid="lr = [0.1, 0.2, 0.1], seed = { range = [0, 5] }")
    again = path.read_text() + "\n[[block]]\ngrid = { lr = [0.2, 0.3], seed = [4, 5] }\n"
    assert len(check(Spec.read(path), Local(1))) == 10
    assert len(check(Spec.parse(again, "spec"), Local(1))) == 13


def test_check_that_takes_long_shows_how_far_it_is(tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relusweep.cluster.plan._SILENT_SECONDS", -1.0)
    monkeypatch.setattr("relusweep.sweep.block._FAMILY", 4)
    shown: list[str] = []
    check(Spec.read(tiny(grid="lr = [0.1], seed = { range = [0, 10] }")), Local(1), shown.append)
    assert shown == [f"checked {number} of 10 runs …" for number in (0, 4, 8)]


def test_check_finds_a_run_that_makes_no_sense_in_the_last_corner(tiny: Callable[..., Path]) -> None:
    spec = Spec.read(tiny(optimizer="'sgd'", grid="lr = [0.1], batch_size = [1, 8, 9]"))
    with pytest.raises(SpecError, match=r"tiny\.toml: block\[0\]: batch_size = 9; expected at most n = 8"):
        check(spec, Local(1))


def test_check_finds_data_that_cannot_be_had(tiny: Callable[..., Path]) -> None:
    text = "name = 'big'\n[fixed]\nproblem = 'digits'\n[[block]]\ngrid = { n = [32, 5000], lr = [0.1] }\n"
    with pytest.raises(DataError, match=r"digits: class 0 has 178 images, got n = 5000 .* Lower n or n_test"):
        check(Spec.parse(text, "spec"), Local(1))


def test_check_finds_the_one_data_set_at_which_a_function_of_the_users_fails(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    text = "def f(x, a):\n  if a and 0.98 < abs(x[0, 0]): raise ValueError('far out')\n  return x[:, 0]\n"
    (tmp_path / "my.py").write_text(text)
    given = {"problem": "'python'", "target": "'my.py:f'", "n": 2, "n_test": 0, "width2": 3, "depth": 2}
    grid = "lr = [0.1], data_seed = { range = [0, 200] }, 'target.a' = [%s]"
    assert len(check(Spec.read(tiny(**given, grid=grid % "0, ''")), Local(1))) == 400
    with pytest.raises(DataError, match=r"my.py, line 2: ValueError: far out; expected f to run without an exception"):
        check(Spec.read(tiny(**given, grid=grid % "0, 1")), Local(1))


def test_plan_counts_runs_packs_shapes_and_files(tiny: Callable[..., Path]) -> None:
    grid = "lr = [0.1], width = [2, 3, 4], seed = { range = [0, 40] }"
    spec = Spec.read(tiny(grid=grid, measure="every = 'log:3'"))
    done = {run.id for run in spec.expand() if run.width == 2}
    counted = count(spec, done, backend("local", 1))
    assert (counted.runs, counted.recorded, counted.missing, counted.shapes) == (120, 40, 80, 2)
    assert counted.packs == 2 * 2  # 40 runs a shape, at most 32 a pack where that few are left
    assert counted.files == 2 * counted.packs  # ends and moments
    assert counted.seconds > 0


def test_plan_leaves_out_what_is_queued_already(tiny: Callable[..., Path]) -> None:
    spec = Spec.read(tiny(grid="lr = [0.1], seed = { range = [0, 10] }"))
    ids = [run.id for run in spec.expand()]
    counted = count(spec, set(ids[:4]), backend("local", 1), None, set(ids[2:7]))
    assert (counted.runs, counted.recorded, counted.queued, counted.missing) == (10, 4, 3, 3)
    assert [runs for runs, _ in counted.pack_seconds] == [3]


def test_plan_times_a_run_on_the_device_that_the_back_end_names(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        workers, device = 3, torch.device("meta")

        def pack_size(self, run: Run, measure: Measure, missing: int) -> int:
            return 1

        def train(self, assignment: Assignment, packs: Iterator[Pack], tick: Callable[[], None]) -> Iterator[Outcome]:
            raise AssertionError

    probed = []
    monkeypatch.setattr("relusweep.cluster.cost.probe", lambda runs, device: probed.append(device) or Cost(1.0, 0.0))
    counted = count(Spec.read(tiny(max_steps=30)), set(), Elsewhere())
    assert probed == [torch.device("meta")]
    assert (counted.packs, counted.workers, counted.seconds) == (4, 3, 40)


def test_plan_of_a_recorded_sweep_is_empty(tiny: Callable[..., Path]) -> None:
    spec = Spec.read(tiny())
    counted = count(spec, {run.id for run in spec.expand()}, backend("local", 2))
    assert (counted.missing, counted.packs, counted.files, counted.seconds) == (0, 0, 0, 0)


def test_unknown_back_end_is_named_with_the_known_ones() -> None:
    with pytest.raises(BackendError, match=r"--on locl: unknown back-end; expected one of local"):
        backend("locl", None)
