"""The rooms of the house: who may know whom."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("sweep", "cluster", "analysis")
FACE = list((ROOT / "relusweep").glob("**/*.py"))  # does not follow the links to the rooms
SOURCES = sorted([*FACE, *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))])
OUTSIDE_TESTS = [*SOURCES, *(ROOT / "bench").rglob("*.py")]
REGISTRIES = {
    "sweep/data.py": "PROBLEMS",
    "sweep/kernels/training/choice.py": "KERNELS",
    "sweep/kernels/measures/programs.py": "PROGRAMS",
    "sweep/optimize.py": "RULES",
    "sweep/shape.py": "BUFFERS",
    "cluster/ahead.py": "PREPARATIONS",
    "cluster/backend.py": "BACKENDS",
    "cluster/doctor.py": "CHECKS",
    "cluster/jobs/queue.py": "QUEUES",
    "analysis/studies/__init__.py": "STUDIES",
}
# What each room may import, besides itself.
ALLOWED = {
    "relusweep": ("sweep.", "cluster.", "analysis.", "cli."),
    "sweep": (),
    "cluster": ("sweep.",),
    "analysis": (
        "sweep.record.",
        "sweep.store.",
        "sweep.spec.",
        "sweep.spec_error.",
        "sweep.run.",
        "sweep.tally.",
        "sweep.data.",
        "sweep.dataset.",
        "sweep.errors.",
    ),
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module(path: Path) -> str:
    """What a file is imported as."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in ("relusweep", *parts[parts[0] == "relusweep" :]) if part != "__init__")


MODULES = {module(path): path for path in SOURCES}


def ours(path: Path) -> Iterator[str]:
    """Yield the modules of this project that a file imports, at the top or later."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: a relative import"
            modules = [
                deeper if (deeper := f"{node.module}.{alias.name}") in MODULES else node.module or ""
                for alias in node.names
            ]
        else:
            continue
        for imported in modules:
            assert imported.split(".")[0] not in ROOMS, f"{name(path)}: imports {imported}, whose name is relusweep's"
            if imported in MODULES:
                yield imported


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    for imported in ours(path):
        assert f"{imported}.".removeprefix("relusweep.").startswith((*ALLOWED[room], f"{room}.")) or (
            room == "relusweep" and imported == "relusweep"
        ), f"imports {imported}"
        assert room == "relusweep" or not imported.startswith("relusweep.cli"), f"imports {imported}"


def test_no_file_imports_itself_by_way_of_others() -> None:
    order = TopologicalSorter({name: set(ours(path)) for name, path in MODULES.items()})
    order.prepare()  # raises CycleError, which names the circle


def test_installation_owns_one_name_and_holds_the_whole_house(tmp_path: Path) -> None:
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    for room in (*ROOMS, "relusweep"):
        shutil.copytree(ROOT / room, source / room, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-c", "from setuptools import setup; setup()", "build_py", "--build-lib", wheels]
    subprocess.run(command, cwd=source, capture_output=True, check=True)
    there = {str(path.relative_to(wheels)) for path in wheels.rglob("*") if path.is_file()}
    rooms = [path.relative_to(source) for room in ROOMS for path in (source / room).rglob("*") if path.is_file()]
    face = [path.relative_to(source) for path in (source / "relusweep").glob("**/*") if path.is_file()]
    assert there == {str(path) for path in [*face, *(Path("relusweep", path) for path in rooms)]}


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
    """Names of everything that importing these modules loads, in a fresh interpreter."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.slow
def test_analysis_loads_neither_trainer_nor_cluster() -> None:
    modules = [name for name in MODULES if name.startswith("relusweep.analysis")]
    assert not {"torch", "ray", "submitit", "relusweep.cluster"} & loaded_by(*modules)


def test_spec_and_store_load_no_torch() -> None:
    loaded = loaded_by(
        "relusweep.sweep.spec", "relusweep.sweep.record", "relusweep.sweep.run", "relusweep.sweep.pack",
        "relusweep.sweep.store.store", "relusweep.sweep.store.lease",
    )  # fmt: skip
    assert not {"torch", "ray", "polars", "matplotlib"} & loaded


def test_command_line_loads_next_to_nothing_before_a_command_needs_it() -> None:
    loaded = loaded_by("relusweep.cli")
    assert not {"torch", "pyarrow", "numpy"} & loaded
    rooms = {name for name in loaded if name.split(".")[:2] in [["relusweep", room] for room in ROOMS]}
    assert rooms == {"relusweep.sweep", "relusweep.sweep.errors"}
