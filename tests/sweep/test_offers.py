"""Offers: problems of a package that is really installed, found without importing it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.sweep import offers
from relusweep.sweep.dataset import DataError
from relusweep.sweep.run import Run
from relusweep.sweep.store.store import Store

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "hills"
version = "1"
[project.entry-points."relusweep.problems"]
hill = "hills.shapes.hill:height"
"hill.inputs" = "hills.shapes.hill:ring"
bare = "hills.shapes.hill:height"
module = "hills.shapes.hill"
gone = "hills.shapes.dale:depth"
stranger = "no_such_package:f"
builtin = "math:sin"
[tool.setuptools]
packages = ["hills", "hills.shapes"]
"""
CODE = """
import numpy as np
def height(x, scale=1.0):
    return scale * np.exp(-(x**2).sum(1))
def ring(rng, n, d):
    x = rng.standard_normal((n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a package that offers problems, by pip, into a folder; importing it is an error."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "hills" / "shapes").mkdir(parents=True)
    (source / "pyproject.toml").write_text(PROJECT)
    for package in ("hills", "hills/shapes"):
        (source / package / "__init__.py").write_text("raise RuntimeError('imported')")
    (source / "hills" / "shapes" / "hill.py").write_text(CODE)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", folder, source], check=True, capture_output=True)
    return folder


@pytest.fixture
def here(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(installed))
    return installed


@pytest.mark.slow
def test_offer_is_found_in_its_file_and_its_package_is_not_imported(here: Path) -> None:
    assert {"hill", "bare"} <= set(offers.problems())
    assert "hill.inputs" not in offers.problems()
    assert offers.located("hill") == (here / "hills/shapes/hill.py", "height")
    assert offers.located("hill.inputs")[1] == "ring"
    assert "hills" not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hil", "'hil': neither 'FILE.py:FUNCTION' nor what an installed package offers; .* Did you mean 'hill'"),
        ("zzzzz", "Packages offer .*bare"),
        ("module", "offered as 'hills.shapes.hill'; expected 'MODULE:FUNCTION'"),
        ("gone", "hills.shapes.dale is in no file NAME.py"),
        ("stranger", "no_such_package is in no file NAME.py"),
        ("builtin", "math is in no file NAME.py"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_is_no_offer_of_a_function_is_refused(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        offers.located(name)


@pytest.mark.usefixtures("here")
def test_offered_problem_is_a_run_on_python_with_its_own_input_law() -> None:
    run = Run.model_validate({"problem": "hill", "lr": 0.1, "d": 3})
    assert (run.problem, run.target, run.inputs, run.domain) == ("python", "hill", "hill.inputs", None)
    bare = Run.model_validate({"problem": "bare", "lr": 0.1})
    assert (bare.target, bare.inputs, bare.domain) == ("bare", None, "cube")
    assert bare.target_source == run.target_source
    with pytest.raises(ValueError, match=r"target = 'a.py:f'; problem hill has its own. Leave it out"):
        Run.model_validate({"problem": "hill", "lr": 0.1, "target": "a.py:f"})
    with pytest.raises(ValueError, match=r"'hilt' is unknown; expected one of .*python, .*hill.* Did you mean 'hill'"):
        Run.model_validate({"problem": "hilt", "lr": 0.1})


@pytest.mark.usefixtures("unchecked_shapes")
def test_store_goes_on_without_the_package(
    here: Path,
    cli: Callable[..., Any],
    forget: Callable[[], None],
    tiny: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = 'lr = [0.1], seed = [0], problem = ["hill", "sine", "bare"]'
    spec = tiny(grid=grid, max_steps=20, **{"n": 8}).read_text().replace("problem = 'sine'\n", "")
    Path("tiny.toml").write_text(spec)
    assert cli("run", "tiny.toml", "--out", "store", "--workers", 1).code == 0
    rows = Store(Path("store")).read()[0].to_pylist()
    assert sorted(row["target"] or "" for row in rows) == ["", "bare", "hill"]
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(here)])
    assert "hill" not in offers.problems()
    forget()
    store = Path("store/spec.toml")
    store.write_text(spec.replace("seed = [0]", "seed = [0, 1]"))
    said = cli("run", store, "--out", "store", "--workers", 1)
    assert (said.code, said.err) == (0, "")
    row = next(row for row in rows if row["target"] == "hill")
    forget()
    assert "0.0e+00" in cli("replay", "store", row["run_id"]).out
