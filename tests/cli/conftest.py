"""The command line: what each command says, and that whatever is wrong is said in one line and changes nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.cli import main
from relusweep.sweep.store.store import Store


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, and forget what `--data` sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELUSWEEP_DATA", "data/mnist")


@pytest.fixture
def refused(cli: Callable[..., Any], tree: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """Run a command that is misuse: exit code 2, one line of error, no output, nothing changed. Gives the line."""

    def call(*arguments: object) -> str:
        before = tree(tmp_path)
        said = cli(*arguments)
        assert (said.code, said.out) == (2, ""), said
        assert said.err.count("\n") == 1, said.err
        assert said.err.endswith("\n")
        assert "Traceback" not in said.err
        assert tree(tmp_path) == before
        return said.err

    return call


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory, tiny_text: Callable[..., str]) -> Path:
    """A store of 4 runs with moments and weights, of which one has diverged."""
    folder = tmp_path_factory.mktemp("kept")
    text = tiny_text(grid="lr = [0.05, 1e6], seed = [0, 1]", measure="every = 'log:3'\nsave_weights = true")
    (folder / "tiny.toml").write_text(text)
    assert main(["run", str(folder / "tiny.toml"), "--out", str(folder / "store"), "--workers", "1"]) == 0
    return folder / "store"


@pytest.fixture
def store(kept: Path, tmp_path: Path) -> Path:
    """A copy of that store, to be spoiled."""
    shutil.copytree(kept, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def ids(store: Path) -> Callable[..., list[str]]:
    """Ids of that copy's runs with a status."""

    def call(status: str = "budget") -> list[str]:
        rows = Store(store).read("runs", ["run_id", "status"])[0].to_pylist()
        return sorted(row["run_id"] for row in rows if row["status"] == status)

    return call
