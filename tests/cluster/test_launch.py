"""Interruptions of every kind: the table stays that of one undisturbed run."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from relusweep.cluster import launch as launching
from relusweep.cluster.backend import Assignment, backend
from relusweep.cluster.launch import train_missing as train
from relusweep.sweep import tally as tallies
from relusweep.sweep.block import Block
from relusweep.sweep.checkpoint import load_checkpoint, write_checkpoint
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.lease import leased
from relusweep.sweep.store.part import outcomes
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store
from relusweep.sweep.tally import Tally
from tests.cluster.conftest import is_training

LONG: dict[str, Any] = {
    "grid": "lr = [0.05, 0.1], seed = [0, 1], width = [3, 4]",
    "measure": "every = 'log:2'\nsave_weights = true",
    "max_steps": 400_000,
    "tolerance": 0.0,
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_text: Callable[..., str]) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "long.toml").write_text(tiny_text(**LONG))
    command = [sys.executable, "-m", "relusweep", "run", "long.toml", "--out", "store", "--workers", "1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "store"


def has_state(store: Path) -> bool:
    return any((store / "checkpoints").glob("[!.]*.pt"))


def has_part(store: Path) -> bool:
    """Tell that the parts of a pack are being written: the first table's is there, or its temporary file."""
    return any((store / "weights").glob("*")) or any((store / "weights").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "moments"), [(1, (is_training, has_part)), (2, (has_state,))])
def test_kill_9_at_any_moment_and_the_same_command_again_give_the_table_of_an_undisturbed_run(
    workers: int,
    moments: tuple[Callable[[Path], bool], ...],
    run: Callable[..., Any],
    launch: Callable[..., Any],
    until: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    undisturbed: Path,
    rows_on_disk: Callable[..., Any],
    equal_tables: Callable[[Path, Path], None],
) -> None:
    store = tmp_path / "store"
    command = (tiny(**LONG), "--out", store, "--checkpoint-minutes", 0)
    chance = random.Random(workers)
    for moment in moments:
        process = launch("run", *command, "--workers", workers)
        until(lambda moment=moment, process=process: moment(store) or process.poll() is not None)
        time.sleep(chance.uniform(0, 0.1))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    code, out, err = run(*command, "--workers", 1)
    assert (code, err) == (0, "")
    assert f"{store}: all 8 runs are recorded" in out
    assert rows_on_disk(store) == rows_on_disk(undisturbed) == {"runs": 8, "trajectories": 16, "weights": 8}
    equal_tables(store, undisturbed)
    assert not [*Store(store).checkpoints(), *(store / "claims").iterdir(), *(store / "aside").iterdir()]


@pytest.mark.slow
def test_kill_9_while_runs_are_added_gives_the_table_of_an_undisturbed_run(
    cli: Callable[..., Any],
    launch: Callable[..., Any],
    until: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    rows_on_disk: Callable[..., Any],
    equal_tables: Callable[[Path, Path], None],
) -> None:
    refine = "parameter = 'lr'\ncolumn = 'train_rmse'\nthreshold = 100\nratio = 2.6"
    spec = tiny(grid="lr = [0.05, 10], seed = [0, 1]", refine=refine, max_steps=200_000, tolerance=0.0, width=3)
    store, whole = tmp_path / "store", tmp_path / "whole"
    command = (spec, "--workers", 1, "--checkpoint-minutes", 0, "--out")
    process = launch("run", *command, store)
    until(lambda: (len(Store(store).parts()) > 1 and is_training(store)) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(Store(store).recorded()) > 4
    said = cli("run", *command, store)
    assert (said.code, said.err) == (0, "")
    assert cli("run", *command, whole).code == 0
    assert f"{store}: all {rows_on_disk(whole)['runs']} runs are recorded" in said.out
    assert rows_on_disk(store) == rows_on_disk(whole)
    equal_tables(store, whole)
    assert not [*Store(store).checkpoints(), *(store / "claims").iterdir(), *(store / "aside").iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 1), (signal.SIGUSR1, 2)])
def test_signal_keeps_the_state_says_so_in_one_line_and_training_goes_on_from_there(
    number: int,
    workers: int,
    run: Callable[..., Any],
    launch: Callable[..., Any],
    until: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    undisturbed: Path,
    equal_tables: Callable[[Path, Path], None],
) -> None:
    store = tmp_path / "store"
    command = (tiny(**LONG), "--out", store)
    process = launch("run", *command, "--workers", workers)
    until(lambda: is_training(store) or process.poll() is not None)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err

    # The state is marked: were the pack to start anew, the mark would be gone.
    (path, *_) = Store(store).checkpoints()
    saved = load_checkpoint(path)
    assert saved is not None
    assert saved["training"]["step"] + saved["training"]["cursor"] > 0
    torch.save(saved | {"seconds": saved["seconds"] + 1e6}, path)
    assert run(*command, "--workers", 1)[0] == 0
    rows = Store(store).read("runs", ["seconds", "pack_id", "pack_size"])[0].to_pylist()
    marked = [row for row in rows if row["pack_id"] == path.stem]
    assert len(marked) == len(saved["runs"]) > 0
    assert all(row["seconds"] * row["pack_size"] > 1e6 for row in marked)
    equal_tables(store, undisturbed)
    assert err == "relusweep: stopped; what was in training is kept. The same command goes on from there.\n"


@pytest.mark.slow
def test_workers_whose_launcher_was_killed_write_their_state_and_end(
    launch: Callable[..., Any], until: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    process = launch("run", tiny(max_steps=100_000_000, tolerance=0.0), "--out", store, "--workers", 2)
    until(lambda: is_training(store))
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    assert has_state(store)
    assert not any((store / "claims").iterdir())
    assert "Error" not in (process.stderr.read() if process.stderr else "")


def test_what_dead_workers_have_left_is_deleted_when_all_is_recorded(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, store = tiny(max_steps=10), tmp_path / "store"
    command = ("run", spec, "--out", store, "--workers", 1)
    assert cli(*command).code == 0
    (store / "progress" / "dead-1.json").write_text("{}")
    (store / "failures" / "unreadable.json").write_text("[]")
    (store / "failures" / "folder.json").mkdir()
    ours = {"pack_id": "busy", "run_ids": ["f" * 32], "error": "", "trace": "", "attempts": 3, "host": "", "time": 0.0}
    Store(store).write_failure("busy", ours)
    genuine = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "busy.json":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return genuine(path)

    monkeypatch.setattr(Path, "read_bytes", refused)  # in passing: nothing is known of its content
    assert cli(*command).code == 0
    left = {path.name for folder in ("progress", "failures") for path in (store / folder).iterdir()}
    assert left == {"folder.json", "busy.json"}


def test_a_sweep_whose_runs_are_all_recorded_is_not_expanded_again(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, store = tiny(max_steps=10), tmp_path / "store"
    command = ("run", spec, "--out", store, "--workers", 1)
    assert cli(*command).code == 0
    more = tiny("more", max_steps=10, grid="lr = [0.05, 0.1], seed = [0, 1, 2]").read_text().replace("more", "tiny")
    with monkeypatch.context() as patch:
        patch.setattr(Spec, "expand", lambda self: pytest.fail("expanded"))
        patch.setattr(Block, "families", lambda self, free: pytest.fail("named"))
        read: list[Path] = []
        patch.setattr(tallies, "outcomes", lambda part: (read.append(part), outcomes(part))[1])
        said = [cli(*command)]
        assert sorted(read) == Store(store).parts()  # each once
        said += [cli("status", store), cli("plan", spec, "--out", store)]
    assert [each.code for each in said] == [0, 0, 0]
    assert "recorded already  4\nto train          0\npacks             0 of 0" in said[2].out
    assert "all 4 runs are recorded" in said[0].out
    spec.write_text(more)
    assert "all 6 runs are recorded" in cli(*command).out


@pytest.mark.slow
@pytest.mark.parametrize("before", [1, 3, 6, 10])
def test_folder_that_can_be_read_no_more_in_mid_run_is_one_line_and_the_same_command_goes_on(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    store, listed, listing = tmp_path / "store", 0, os.scandir

    def refused(path: Any = ".") -> Any:
        nonlocal listed
        listed += isinstance(path, Path) and path.is_relative_to(store)
        if listed > before:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listing(path)

    command = ("run", tiny(max_steps=10, grid="lr = [0.1], seed = [0], width = [2, 3]"), "--out", store, "--workers", 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refused)
        said = cli(*command)
    assert said.code == 2
    assert listed > before
    assert "permission denied" in said.err
    assert "Traceback" not in said.err
    assert cli(*command).code == 0
    assert len(Store(store).recorded()) == 2
    assert cli("verify", store).code == 0


def test_what_a_file_system_cannot_promise_is_said_once(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "sync", lambda folder: False)
    said = cli("run", tiny(max_steps=10), "--out", tmp_path / "store", "--workers", 1)
    assert said.code == 0
    assert said.err.count("cannot sync folders: what is recorded just before a loss of power") == 1


@pytest.fixture
def with_state(
    launch: Callable[..., Any], until: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> tuple[Path, Path]:
    """A spec, and a store whose only pack was interrupted."""
    spec, store = tiny(max_steps=1_500_000, tolerance=0.0), tmp_path / "store"
    process = launch("run", spec, "--out", store, "--workers", 1)
    until(lambda: is_training(store) or process.poll() is not None)
    process.terminate()
    assert process.wait(timeout=60) == 130
    return spec, store


@pytest.mark.slow
def test_state_of_runs_that_are_recorded_by_now_is_deleted(
    run: Callable[..., Any], cli: Callable[..., Any], with_state: tuple[Path, Path]
) -> None:
    spec, store = with_state
    (path,) = Store(store).checkpoints()
    content = path.read_bytes()
    assert run(spec, "--out", store, "--workers", 1)[0] == 0
    path.write_bytes(content)  # as a kill between the record and the deletion leaves it
    assert cli("run", spec, "--out", store, "--workers", 1).code == 0
    assert not Store(store).checkpoints()


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_damaged_state_is_no_obstacle(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, damage: str
) -> None:
    spec, store = tiny(max_steps=200), Store.create(tmp_path / "store")
    path = store.checkpoint(Pack(tuple(Spec.read(spec).expand())).id)
    torch.save({"format": 1, "runs": []}, path)
    path.write_bytes({"cut": path.read_bytes()[:-20], "garbage": b"\x80\x02garbage", "empty": b""}[damage])
    assert cli("run", spec, "--out", store.path, "--workers", 1).code == 0
    assert len(store.recorded()) == 4
    assert not store.checkpoints()


@pytest.mark.parametrize(
    "named", [{"problem": "file", "file": "gone.csv"}, {"problem": "python", "target": "gone.py:f"}]
)
def test_state_that_names_files_is_no_obstacle(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, named: dict[str, str]
) -> None:
    spec, store = tiny(max_steps=200), Store.create(tmp_path / "store")
    measure = Spec.read(spec).measure.model_dump()
    saved = {"runs": [{"lr": 0.1} | named], "measure": measure, "training": {"ids": ["0" * 32], "step": 1, "cursor": 0}}
    write_checkpoint(store.checkpoint("any"), saved)
    assert load_checkpoint(store.checkpoint("any"))
    said = cli("run", spec, "--out", store.path, "--workers", 1)
    assert (said.code, said.err) == (0, "")


def test_unreadable_state_that_no_pack_asks_for_is_deleted_at_the_end_and_said(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    spec, store = tiny(max_steps=1), Store.create(tmp_path / "store")
    damaged, in_training = store.checkpoint("of-another-spec"), store.checkpoint("in-training")
    for path in (damaged, in_training):
        path.write_bytes(b"garbage")
    with leased(store, "in-training", ["f" * 32]):
        said = cli("run", spec, "--out", store.path, "--workers", 1)
    assert said.code == 0
    assert said.err == f"{damaged}: a state that cannot be read (damaged, or of another version); deleted.\n"
    assert store.checkpoints() == [in_training]


def test_state_is_read_without_running_code_from_it(tmp_path: Path) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "pack.pt").write_bytes(pickle.dumps(Bomb()))
    assert load_checkpoint(tmp_path / "pack.pt") is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_other_measures_are_recorded_though_a_state_has_none(
    run: Callable[..., Any], tiny: Callable[..., Path], with_state: tuple[Path, Path]
) -> None:
    _, store = with_state
    spec = tiny(max_steps=1_500_000, tolerance=0.0, measure="every = 'log:3'")
    assert run(spec, "--out", store, "--workers", 1)[0] == 0
    assert len(Store(store).read("trajectories")[0]) == 4 * 3
    assert not Store(store).checkpoints()


def rows(runs: list[Run]) -> list[dict[str, Any]]:
    return [run.model_dump() | {"run_id": run.id, "status": "budget"} for run in runs]


def test_waiting_launcher_reads_only_what_is_new(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, store = Spec.read(tiny()), Store.create(tmp_path / "store")
    runs = list(spec.expand())
    store.write("a", {"runs": rows(runs[:1])}, {})
    store.write("b", {"runs": rows(runs[1:2])}, {})
    tally = Tally(store, RunIds(run.id for run in runs))
    read, said, ticks = [], [], []
    monkeypatch.setattr(tallies, "outcomes", lambda part: read.append(part.stem) or outcomes(part))
    monkeypatch.setattr(Spec, "expand", lambda self: pytest.fail("expanded while there was nothing to train"))
    monkeypatch.setattr(launching, "_WAIT_SECONDS", 0)

    def tick() -> None:
        """Be the other launcher: record its runs after a while, one part after the other."""
        ticks.append(1)
        if len(ticks) in (4, 8):
            store.write(f"of-{len(ticks)}", {"runs": rows(runs[2:3] if len(ticks) == 4 else runs[3:])}, {})

    with leased(store, "other", [run.id for run in runs[2:]]):
        failed = train(
            spec, tally, backend("local", 1), Assignment(store.path, spec.measure, "local", 60), tick, said.append
        )
    assert not failed
    assert len(ticks) == 8
    assert read == ["pack-a", "pack-b", "pack-of-4", "pack-of-8"]
    assert said == [f"{store.path}: another launcher is training the last 2 runs; waiting for it."]
