"""What every back-end promises. A new one is one more name in BACKENDS."""

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest

from relusweep.analysis.table import load
from relusweep.cluster.backend import ATTEMPTS, BACKENDS, Assignment, Backend, Outcome, backend
from relusweep.cluster.launch import train_missing
from relusweep.sweep import longer
from relusweep.sweep.branches import find_branches
from relusweep.sweep.kept import keep_data
from relusweep.sweep.pack import Pack
from relusweep.sweep.record import CIRCUMSTANCES
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store
from relusweep.sweep.tally import Tally
from tests.cluster.conftest import HASTE
from tests.cluster.slurm.cluster import room_for
from tests.conftest import FLIPS, idx_files

WIDTHS = "lr = [0.05, 0.1], seed = [0, 1], width = [3, 4, 5]"  # three tensor shapes, so three packs


@pytest.fixture(params=[*BACKENDS])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], Backend]]:
    """Make each back-end in turn, with a number of workers."""
    if request.param == "local":
        yield lambda workers: backend("local", workers)
        return
    if request.param == "ray":
        for name, value in request.getfixturevalue("ray_cluster").environment.items():
            monkeypatch.setenv(name, value)
        yield lambda workers: backend("ray", workers)
        return
    assert request.param == "slurm", f"{request.param}: say in this fixture how it is made"
    cluster = request.getfixturevalue("slurm")
    for name, value in {**HASTE, **cluster.environment}.items():
        monkeypatch.setattr(name, value) if "." in name else monkeypatch.setenv(name, value)

    def make(workers: int) -> Backend:
        machine = tmp_path / "machine.toml"
        deep = tmp_path / ("deep-" * 16)  # too long a path for a socket, as a site's scratch folder may be
        deep.mkdir(exist_ok=True)
        asked = {"time": "'60'", "environment": f"{{ TMPDIR = '{deep}' }}"} | room_for(workers)
        machine.write_text("\n".join(f"{key} = {value}" for key, value in asked.items()))
        return backend("slurm", None, machine)

    yield make
    cluster.clear()


@pytest.fixture
def train(tmp_path: Path, place: Callable[[int], Backend]) -> Callable[..., tuple[Store, list[Outcome]]]:
    """Train a spec with a number of workers into the store of a name; gives the store and what failed."""

    def call(spec: Path, workers: int = 1, store: str = "store", seconds: float = 120.0) -> tuple[Store, list[Outcome]]:
        made = Store.create(tmp_path / store)
        planned = Spec.read(spec)
        made.write_spec(planned.text)
        assignment = Assignment(made.path, planned.measure, "contract", seconds)
        tally = Tally.of(planned, made)
        return made, train_missing(planned, tally, place(workers), assignment, lambda: None, lambda said: None)

    return call


@pytest.fixture
def train_from_the_store(train: Callable[..., Any], tmp_path: Path, forget: Callable[[], None]) -> Callable[..., Store]:
    """Train a spec by two workers after the files that it names have gone; the launcher has never seen them either."""

    def call(spec: Path, *gone: Path) -> Store:
        planned, store = Spec.read(spec), Store.create(tmp_path / "store")
        find_branches(planned)
        store.write_spec(planned.text)
        keep_data(planned, store)
        for path in gone:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        forget()
        store, failed = train(store.spec_path, 2)
        assert (failed, store.failures()) == ([], [])
        return store

    return call


@contextmanager
def killing(store: Path, times: int) -> Iterator[list[int]]:
    """Kill so many worker processes with SIGKILL, each as soon as it is training a pack."""
    killed: list[int] = []
    done = threading.Event()

    def kill() -> None:
        while len(killed) < times and not done.is_set():
            for claim in (store / "claims").glob("[!.]*.json"):
                owner = int(claim.read_text().split('"pid": ')[1].split(",")[0]) if claim.exists() else os.getpid()
                if owner != os.getpid() and owner not in killed and psutil.pid_exists(owner):
                    os.kill(owner, signal.SIGKILL)
                    killed.append(owner)
                    break
            time.sleep(0.005)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        done.set()
        thread.join()


@pytest.mark.slow
def test_every_run_is_recorded_once_and_alike_by_one_worker_or_two(
    train: Callable[..., Any],
    tiny: Callable[..., Path],
    rows_on_disk: Callable[..., Any],
    equal_tables: Callable[[Path, Path], None],
) -> None:
    spec = tiny(grid=WIDTHS, measure="every = 'log:3'\nsave_weights = true", dtype="'float64'")
    for workers in (1, 2):
        store, failed = train(spec, workers, f"by-{workers}")
        assert not failed
        assert store.recorded() == {run.id for run in Spec.read(spec).expand()}
        assert rows_on_disk(store.path) == {"runs": 12, "trajectories": 36, "weights": 12}
        assert not [*store.checkpoints(), *store.failures(), *(store.path / "claims").iterdir()]
    equal_tables(store.path.with_name("by-1"), store.path)


def test_trajectory_moments_and_pack_mates_leave_a_run_as_it_is(
    train: Callable[..., Any], tiny: Callable[..., Path]
) -> None:
    columns = ["run_id", "status", "steps", "loss", "sharpness", "test_rmse"]
    many, _ = train(tiny("many", measure="every = 'log:7'"), store="many")
    alone, _ = train(tiny("alone", grid="lr = [0.1], seed = [1]"), store="alone")
    (row,) = alone.read("runs", columns)[0].to_pylist()
    (same,) = [other for other in many.read("runs", columns)[0].to_pylist() if other["run_id"] == row["run_id"]]
    assert [same[key] for key in columns[:3]] == [row[key] for key in columns[:3]]
    assert [same[key] for key in columns[3:]] == pytest.approx([row[key] for key in columns[3:]], rel=1e-9)


@pytest.mark.slow
def test_workers_have_the_data_and_the_weights_of_a_users_files_from_the_store_alone(
    train_from_the_store: Callable[..., Store], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    points, start = tmp_path / "points.npz", tmp_path / "start.npz"
    np.savez(points, x=np.arange(12).reshape(6, 2) / 10, y=[1, 0, 1, 0, 1, 0])
    np.savez(start, w1=np.eye(4, 2), b1=np.zeros(4), w2=np.ones(4))
    given = {"problem": "'file'", "file": "'points.npz'", "n_test": 1, "standardize": "true"}
    given |= {"init": "'file'", "init_file": "'start.npz'", "bias": "'hidden'"}
    grid = "lr = [0.05, 0.1], seed = [0, 1], n = [4, 5]"
    text = tiny(**given, grid=grid).read_text().replace("\nn = 8\n", "\n")
    (tmp_path / "own.toml").write_text(text)
    planned = [*Spec.read(tmp_path / "own.toml").expand()]
    store = train_from_the_store(tmp_path / "own.toml", points, start)
    rows = store.read("runs", ["run_id", "file", "content", "train_rmse"])[0].to_pylist()
    assert {row["run_id"] for row in rows} == {run.id for run in planned}
    assert {(row["file"], row["content"]) for row in rows} == {("points.npz", planned[0].content)}
    assert all(0 < row["train_rmse"] < 1 for row in rows)


@pytest.mark.slow
def test_workers_have_the_functions_of_a_users_file_from_the_store_alone(
    train_from_the_store: Callable[..., Store], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def f(x, a): return a * x[:, 0]\ndef law(rng, n, d): return rng.uniform(size=(n, d))\n")
    given = {"problem": "'python'", "target": "'mine.py:f'", "inputs": "'mine.py:law'", "'target.a'": 2.0}
    spec = tiny(**given, grid=WIDTHS)
    ids = {run.id for run in Spec.read(spec).expand()}
    store = train_from_the_store(spec, mine)
    rows = store.read("runs", ["run_id", "target", "target_arguments", "train_rmse"])[0].to_pylist()
    assert {row["run_id"] for row in rows} == ids
    assert {(row["target"], row["target_arguments"]) for row in rows} == {("mine.py:f", '{"a":2.0}')}
    assert all(0 < row["train_rmse"] < 2 for row in rows)


@pytest.mark.slow
def test_workers_find_images_in_the_folder_that_the_launcher_names(
    train: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELUSWEEP_DATA", str(idx_files(tmp_path / "images", 0)))
    spec = tiny(problem="'mnist'", d=784, max_steps=30, grid=WIDTHS)
    store, failed = train(spec, 2)
    assert (failed, store.failures()) == ([], [])
    planned = {run.id: run.content for run in Spec.read(spec).expand()}
    rows = store.read("runs", ["run_id", "content", "train_rmse"])[0].to_pylist()
    assert {row["run_id"]: row["content"] for row in rows} == planned
    assert None not in planned.values(), "they are not MNIST's"
    assert all(0 < row["train_rmse"] < 9 for row in rows)


@pytest.mark.slow
def test_workers_take_extra_measures_and_those_of_a_users_file_from_the_store_alone(
    train_from_the_store: Callable[..., Store], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def largest(networks): return networks.residuals.abs().amax(1)\n")
    extra = "extra = ['trace', 'spectrum:2', 'mine.py:largest']"
    store = train_from_the_store(tiny(grid=WIDTHS, measure=extra), mine)
    runs = load([store.path]).runs
    assert len(runs) == 12
    assert runs.filter(pl.col("largest") <= 0).is_empty()
    assert runs["spectrum_1"].to_list() == pytest.approx(runs["sharpness"].to_list(), rel=1e-6)
    assert runs.filter(pl.col("trace") < pl.col("gn_sharpness")).is_empty()


@pytest.mark.slow
def test_workers_begin_at_the_weights_of_a_moment_from_the_store_alone(
    train: Callable[..., Any], train_from_the_store: Callable[..., Store], tiny: Callable[..., Path]
) -> None:
    given = {"grid": WIDTHS, "tolerance": 0.0}
    trunk, failed = train(tiny(measure="every = 'log:5'\nsave_weights = 'moments'", **given), 2, "trunk")
    assert not failed
    path = tiny(measure="save_weights = true", max_steps=311, **given)
    path.write_text(path.read_text() + "\n[from]\nstore = 'trunk'\nstep = 89\n")
    store = train_from_the_store(path, trunk.path / "trajectories")
    ends = [sorted(row["w1"] for row in each.read("weights")[0].to_pylist()) for each in (trunk, store)]
    assert ends[0] == ends[1]
    assert len(ends[1]) == 12


@pytest.mark.slow
def test_runs_whose_max_steps_was_raised_go_on_from_where_they_stood(
    train: Callable[..., Any], tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"grid": WIDTHS, "tolerance": 0.0, "optimizer": "'momentum'"}
    train(tiny(max_steps=400, **given), 2)
    going_on: list[Pack] = []
    packs = longer.packs
    monkeypatch.setattr(longer, "packs", lambda *given: (going_on.append(pack) or pack for pack in packs(*given)))
    spec = tiny(max_steps=1000, **given)
    store, failed = train(spec, 2)
    assert (failed, store.failures(), store.checkpoints()) == ([], [], [])
    assert [len(pack.runs) for pack in going_on] == [4, 4, 4]
    once, failed = train(spec, 2, "once")
    assert not failed
    ends = [{row["run_id"]: row for row in each.read()[0].to_pylist()} for each in (store, once)]
    assert len(ends[1]) == 12
    for run_id, row in ends[1].items():
        assert {key for key, value in row.items() if ends[0][run_id][key] != value} <= {*CIRCUMSTANCES}


def test_runs_are_added_where_the_outcome_flips(
    train: Callable[..., Any], tiny: Callable[..., Path], rows_on_disk: Callable[..., Any]
) -> None:
    store, failed = train(tiny(**FLIPS))
    assert not failed
    found = {(row["lr"], row["seed"]) for row in store.read("runs", ["lr", "seed"])[0].to_pylist()}
    assert found == {(lr, seed) for lr in (0.25, 500.0, 1e6) for seed in (0, 1)}
    assert rows_on_disk(store.path)["runs"] == 6


def test_diverged_run_is_a_row_and_no_failure(train: Callable[..., Any], tiny: Callable[..., Path]) -> None:
    store, failed = train(tiny(grid="lr = [0.1, 1e6]"))
    rows = store.read()[0].to_pylist()
    assert (failed, store.failures()) == ([], [])
    assert {row["lr"]: row["status"] for row in rows} == {0.1: "budget", 1e6: "diverged"}
    (gone,) = [row for row in rows if row["status"] == "diverged"]
    assert [gone[key] for key in ("loss", "sharpness", "test_rmse", "parameter_norm")] == [None] * 4


@pytest.mark.slow
def test_killed_worker_is_replaced_and_its_pack_tried_again(
    train: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, rows_on_disk: Callable[..., Any]
) -> None:
    spec = tiny(grid=WIDTHS, max_steps=100_000, tolerance=0.0)
    with killing(tmp_path / "store", times=1) as killed:
        store, failed = train(spec, 2)
    assert len(killed) == 1
    assert (failed, store.failures()) == ([], [])
    assert rows_on_disk(store.path)["runs"] == len(store.recorded()) == 12


@pytest.mark.slow
def test_pack_whose_worker_always_dies_is_listed_and_tried_again_by_the_next_run(
    train: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    spec = tiny(max_steps=400_000, tolerance=0.0)
    ids = {run.id for run in Spec.read(spec).expand()}
    with killing(tmp_path / "store", times=ATTEMPTS) as killed:
        store, failed = train(spec, 2)
    assert len(killed) == ATTEMPTS
    assert [outcome.kind for outcome in failed] == ["failed"]
    (listed,) = store.failures()
    assert set(listed["run_ids"]) == ids
    assert listed["attempts"] == ATTEMPTS
    assert re.match(r"worker process died.*\. Out of memory\?", listed["error"])
    assert not store.recorded()

    store, failed = train(spec)
    assert (failed, store.failures()) == ([], [])
    assert store.recorded() == ids


@pytest.mark.parametrize("place", ["local", "ray"], indirect=True)  # jobs of a cluster go on without their launcher
def test_stop_signal_writes_the_state_and_stops(
    train: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, until: Callable[..., Any]
) -> None:
    def stop() -> None:
        until(lambda: list((tmp_path / "store" / "progress").glob("[!.]*.json")))
        os.kill(os.getpid(), signal.SIGUSR2)

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)]
    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        train(tiny(max_steps=100_000_000, tolerance=0.0), 2)
    thread.join()
    store = Store.open(tmp_path / "store")
    assert len(store.checkpoints()) == 1
    assert (store.failures(), list((store.path / "claims").iterdir())) == ([], [])
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)]
    assert after == before


def test_store_that_cannot_be_written_ends_the_training(
    place: Callable[[int], Backend], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    from relusweep.sweep.store.store import StoreError

    store = Store.create(tmp_path / "store")
    (store.path / "runs").rmdir()
    (store.path / "runs").write_text("a file where the folder should be")
    spec = Spec.read(tiny(max_steps=200))
    assignment = Assignment(store.path, spec.measure, "contract", 120.0)
    packs = iter([Pack(tuple(spec.expand()))])
    with pytest.raises(StoreError, match=r"runs.*: a file stands where a directory is needed"):
        list(place(1).train(assignment, packs, lambda: None))
