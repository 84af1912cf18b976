"""The rooms of the house: who may know whom."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("sweep", "cluster", "analysis")
SOURCES = sorted([ROOT / "relusweep.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))])
OUTSIDE_TESTS = [*SOURCES, *(ROOT / "bench").rglob("*.py")]
REGISTRIES = {
    "sweep/data.py": "PROBLEMS",
    "sweep/train.py": "KERNELS",
    "cluster/backend.py": "BACKENDS",
    "analysis/studies/__init__.py": "STUDIES",
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def ours(path: Path) -> Iterator[str]:
    """Yield what a file imports of this project, at the top or later."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: a relative import"
            within = (ROOT / (node.module or "").replace(".", "/")).is_dir()
            modules = [f"{node.module}.{alias.name}" if within else node.module or "" for alias in node.names]
        else:
            continue
        yield from (module for module in modules if module.split(".")[0] in (*ROOMS, "relusweep"))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_go_one_way(path: Path) -> None:
    allowed = {
        "relusweep.py": ("sweep.", "cluster.", "analysis."),
        "sweep": ("sweep.",),
        "cluster": ("sweep.", "cluster."),
        "analysis": ("analysis.", "sweep.record", "sweep.store", "sweep.spec", "sweep.run", "sweep.data"),
    }[path.relative_to(ROOT).parts[0]]
    for module in ours(path):
        assert f"{module}.".startswith(tuple(f"{room.rstrip('.')}." for room in allowed)), f"imports {module}"


def test_whole_house_is_installed_and_not_only_linked_to(tmp_path: Path) -> None:
    source, built = tmp_path / "source", tmp_path / "built"
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE", "relusweep.py"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-c", "from setuptools import setup; setup()", "build_py", "--build-lib", built]
    subprocess.run(command, cwd=source, capture_output=True, check=True)
    there = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    assert there == {
        "relusweep.py",
        *(str(path.relative_to(source)) for room in ROOMS for path in (source / room).rglob("*") if path.is_file()),
    }


@pytest.mark.parametrize("path", OUTSIDE_TESTS, ids=name)
def test_file_is_named_for_what_it_holds(path: Path) -> None:
    assert not {"utils", "util", "helpers", "helper", "common", "misc"} & {*path.relative_to(ROOT).parts, path.stem}


@pytest.mark.parametrize("path", OUTSIDE_TESTS, ids=name)
def test_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_file_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("place", REGISTRIES)
def test_registry_is_a_literal(place: str) -> None:
    body = ast.parse((ROOT / place).read_text(encoding="utf-8")).body
    wanted = REGISTRIES[place]
    values = [
        node.value
        for node in body
        if (isinstance(node, ast.Assign) and [t.id for t in node.targets if isinstance(t, ast.Name)] == [wanted])
        or (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == wanted)
    ]
    assert [type(value) for value in values] in ([ast.Dict], [ast.Tuple]), "one display, whole, at the top level"
    changes = [
        node
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Subscript, ast.Attribute))
        and isinstance(node.ctx, (ast.Store, ast.Del))
        and isinstance(node.value, ast.Name)
        and node.value.id == wanted
    ]
    assert not changes, "and never changed by code"


def loaded_by(*modules: str) -> set[str]:
    """Top-level names of everything that importing these modules loads, in a fresh interpreter."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {module.split(".")[0] for module in done.stdout.split()}


def test_analysis_loads_neither_trainer_nor_cluster() -> None:
    modules = [
        name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in SOURCES
        if path.is_relative_to(ROOT / "analysis")
    ]
    assert not {"torch", "ray", "submitit", "cluster"} & loaded_by(*modules)


def test_spec_and_store_load_no_torch() -> None:
    loaded = loaded_by("sweep.spec", "sweep.store", "sweep.record", "sweep.run", "sweep.pack", "sweep.claim")
    assert not {"torch", "ray", "polars", "matplotlib"} & loaded


def test_command_line_loads_no_room_before_a_command_needs_it() -> None:
    assert not {"torch", "pyarrow", "numpy", *ROOMS} & loaded_by("relusweep")
