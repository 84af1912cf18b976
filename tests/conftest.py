"""A tiny sweep, and the command line to train it with: in this process, or in one that can be killed."""

import gzip
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from relusweep.cli import main
from relusweep.sweep import contents, data, own_module, shelf, trust
from relusweep.sweep.contents import POINTS
from relusweep.sweep.own_code import CODE
from relusweep.sweep.store.store import TABLES, Store
from relusweep.sweep.weights_file import WEIGHTS

os.environ["TRITON_INTERPRET"] = "1"  # Triton asks once, when it is loaded, and torch may be the one to load it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Under .ci/run a test that skips has failed: everything that it needs is to be installed there."""
    report = yield
    if report.skipped and os.environ.get("RELUSWEEP_CI") == "1":
        report.outcome, report.longrepr = "failed", f"{item.nodeid} skipped under .ci/run: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts SLURM, Ray or Chromium: `make check` leaves it out, as what is marked slow."""
    for item in items:
        fixtures, place = {*getattr(item, "fixturenames", ())}, item.path.relative_to(Path(__file__).parent)
        parameters = item.callspec.params if hasattr(item, "callspec") else {}  # pyright: ignore
        named = fixtures & {"slurm", "ray_cluster"} or parameters.get("place") in ("slurm", "ray")
        if named or place.match("cluster/ray/test_*"):
            item.add_marker("cluster")
        if "browser" in fixtures:
            item.add_marker("browser")


def idx_files(folder: Path, seed: int) -> Path:
    """Write forty random images of two classes, and return their folder."""
    folder.mkdir()
    images = np.random.default_rng(seed).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    content = struct.pack(">4B3I", 0, 0, 8, 3, 40, 28, 28) + images.tobytes()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    labels = (np.arange(40) % 2).astype(np.uint8).tobytes()
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 40) + labels)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remember elsewhere than in the user's home which Python was run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


# A sweep with [refine] whose outcome flips between 0.25 and 1e6: it asks for 500, which is near enough to 0.25.
FLIPS: dict[str, Any] = {
    "grid": "lr = [0.25, 1e6], seed = [0, 1]",
    "refine": "parameter = 'lr'\ncolumn = 'train_rmse'\nthreshold = 100\nratio = 1e4",
    "max_steps": 40,
}


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Give what makes this process one that has read, run and been permitted nothing yet."""

    def call() -> None:
        for shelved in (POINTS, CODE, WEIGHTS):
            monkeypatch.setattr(shelved, "_known", {})
        monkeypatch.setattr(shelf, "_folders", {})
        monkeypatch.setattr(contents, "_images", {})
        monkeypatch.setattr(contents, "_branches", {})
        monkeypatch.setattr(trust, "_permitted", set())
        own_module._modules.cache_clear()
        data._dataset.cache_clear()

    return call


@pytest.fixture(scope="session")
def tiny_text() -> Callable[..., str]:
    """Give the spec of a tiny sweep: 2 step sizes × 2 seeds of 4 units on 8 points, unless told otherwise."""
    grid_of_four = "lr = [0.05, 0.1], seed = [0, 1]"

    def make(name: str = "tiny", grid: str = grid_of_four, measure: str = "", refine: str = "", **fixed: Any) -> str:
        parameters = {"problem": "'sine'", "n": 8, "d": 2, "n_test": 4, "width": 4, "max_steps": 400} | fixed
        lines = [f"name = '{name}'", "[fixed]", *(f"{key} = {value}" for key, value in parameters.items())]
        tables = ["[measure]", measure, *(["[refine]", refine] if refine else [])]
        return "\n".join([*lines, *tables, "[[block]]", f"grid = {{ {grid} }}"])

    return make


@pytest.fixture
def tiny(tmp_path: Path, tiny_text: Callable[..., str]) -> Callable[..., Path]:
    """Write the spec of a tiny sweep into a file."""

    def make(name: str = "tiny", **given: Any) -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(tiny_text(name, **given), encoding="utf-8")
        return path

    return make


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run a command in this process, where types are checked and each training step takes ten times as long."""

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a command in a process group of its own; what is left of it at the end is killed."""
    started = []

    def start(*arguments: object, within: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        command = [*within, sys.executable, "-m", "relusweep", *map(str, arguments)]
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background shell, and then inherited
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
            start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            if process.poll() is None:
                os.killpg(process.pid, 9)


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait until something holds, and give it."""

    def wait(what: Callable[[], Any], seconds: float = 180) -> Any:
        end = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.01)
        return found

    return wait


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes | None]]:
    """Everything that lies in a folder, byte for byte."""

    def walk(folder: Path) -> dict[str, bytes | None]:
        return {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
        }

    return walk


@pytest.fixture
def rows_on_disk() -> Callable[[Path], dict[str, int]]:
    """Count the rows of each table in all its parts; a row that is there twice counts twice."""

    def count(store: Path) -> dict[str, int]:
        return {table: sum(pq.read_metadata(part).num_rows for part in Store(store).parts(table)) for table in TABLES}

    return count


# What may differ between two trainings of a run without saying anything about the run.
CIRCUMSTANCES = {"seconds", "pack_id", "pack_size", "device", "backend", "code_version"}


@pytest.fixture
def equal_tables() -> Callable[[Path, Path], None]:
    """Assert that two stores hold the same runs, moments and weights: numbers to 1e-9, all else exactly."""

    def check(one: Path, other: Path) -> None:
        for table in TABLES:
            left, right = (_sorted_rows(store, table) for store in (one, other))
            assert len(left) == len(right), table
            for mine, theirs in zip(left, right, strict=True):
                assert mine == {key: _near(value) for key, value in theirs.items()}

    return check


def _sorted_rows(store: Path, table: str) -> list[dict[str, Any]]:
    content, broken = Store.open(store).read(table)
    assert not broken
    rows = [{key: value for key, value in row.items() if key not in CIRCUMSTANCES} for row in content.to_pylist()]
    return sorted(rows, key=lambda row: (row["run_id"], row.get("step", 0)))


def _near(value: Any) -> Any:
    is_number = isinstance(value, float) or (isinstance(value, list) and value)
    return pytest.approx(value, rel=1e-9, abs=1e-12) if is_number else value
