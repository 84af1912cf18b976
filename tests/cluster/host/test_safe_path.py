"""Entry points: wherever relusweep is started, no module of the user's folder takes the place of another."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.cli import main
from relusweep.cluster.local.forks import CONTEXT
from relusweep.sweep.store.store import Store
from tests.cluster.slurm.cluster import Cluster

ROOT = Path(__file__).parents[3]
# What users call files of their own, and something of Python, of a library or of ours is called as well.
NAMES = (
    "analysis", "bisect", "cluster", "copy", "dataclasses", "hashlib", "inspect", "json", "logging", "numpy",
    "platform", "pydantic", "queue", "random", "ray", "run", "secrets", "selectors", "signal", "socket", "spec",
    "statistics", "store", "subprocess", "sweep", "tempfile", "threading", "tokenize", "torch", "train",
    "typing_extensions", "uuid",
)  # fmt: skip
IMPORTED = "imported.log"  # beside the folder


@pytest.fixture
def folder(tmp_path: Path, tiny: Callable[..., Path]) -> Path:
    """A folder full of such files, each of which leaves a note when it is imported, and a spec."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(
            f"open({str(tmp_path / IMPORTED)!r}, 'a').write('{name} ')\nraise SystemExit(3)\n", encoding="utf-8"
        )
    tiny(grid="lr = [0.05, 0.1], width = [3, 4]").rename(folder / "tiny.toml")
    return folder


@pytest.fixture
def untouched(folder: Path, tmp_path: Path) -> Callable[..., None]:
    """Assert that none of them was imported, and that all runs are recorded."""

    def check(store: str = "store") -> None:
        assert not (tmp_path / IMPORTED).exists(), (tmp_path / IMPORTED).read_text()
        assert len(Store.open(folder / store).recorded()) == 4

    return check


def environment(**given: str) -> dict[str, str]:
    """This one, with a PYTHONPATH as scripts leave it behind: what is empty in it means the current folder."""
    return os.environ | {"PYTHONPATH": f":{ROOT}:", "OMP_NUM_THREADS": "1"} | given


def console_script(folder: Path) -> list[str]:
    """The command `relusweep`, as installers write it."""
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]["relusweep"]
    module, function = entry.split(":")
    folder.mkdir()
    script = folder / "relusweep"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    script.chmod(0o700)
    return [str(script)]


def started(command: list[str], folder: Path, **given: str) -> str:
    done = subprocess.run(command, cwd=folder, env=environment(**given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["script", "module"])
def test_command_line_and_its_workers_import_nothing_of_the_current_folder(
    entry: str, folder: Path, untouched: Callable[..., None], tmp_path: Path
) -> None:
    relusweep = console_script(tmp_path / "bin") if entry == "script" else [sys.executable, "-m", "relusweep"]
    for workers in ("1", "2"):
        started([*relusweep, "run", "tiny.toml", "--out", workers, "--workers", workers], folder)
        untouched(workers)
    assert started([*relusweep, "status", "2"], folder).startswith("4/4 runs")
    started([*relusweep, "verify", "2"], folder)
    started([*relusweep, "report", "2"], folder)
    untouched("2")


@pytest.mark.cluster
def test_ray_and_its_workers_import_nothing_of_the_current_folder(folder: Path, untouched: Callable[..., None]) -> None:
    pytest.importorskip("ray", reason="no Ray; pip install 'relusweep[ray]' brings it")
    command = ["run", "tiny.toml", "--out", "store", "--workers", "2", "--on", "ray"]
    started([sys.executable, "-m", "relusweep", *command], folder)
    untouched()


def test_jobs_of_slurm_import_nothing_of_the_folder_where_they_were_submitted(
    slurm: Cluster, folder: Path, untouched: Callable[..., None], until: Callable[..., Any]
) -> None:
    module = "export PYTHONPATH=:$PYTHONPATH"  # as modules of a cluster write it
    (folder / "machine.toml").write_text(f"time = '60'\ncpus_per_task = 2\nsetup = ['{module}']\n", encoding="utf-8")
    command = [
        "run",
        "tiny.toml",
        "--on",
        "slurm",
        "--machine",
        "machine.toml",
        "--out",
        "store",
        "--detach",
        "--report",
    ]
    started([sys.executable, "-m", "relusweep", *command], folder, **slurm.environment)
    until((folder / "store" / "report" / "index.html").exists, seconds=120)
    untouched()
    slurm.clear()


def test_ray_inside_a_job_of_slurm_imports_nothing_of_the_folder_where_it_was_submitted(
    slurm: Cluster, folder: Path, untouched: Callable[..., None], until: Callable[..., Any]
) -> None:
    pytest.importorskip("ray", reason="no Ray; pip install 'relusweep[ray]' brings it")
    given = slurm.environment | {"PATH": f"{Path(sys.executable).parent}:{slurm.environment['PATH']}"}
    options = ["--parsable", "--nodes=1", "--cpus-per-task=2"]
    command = ["sbatch", *options, str(ROOT / "slurm" / "ray_cluster.sbatch"), "tiny.toml", "--out", "store"]
    job = started(command, folder, **given).strip()
    log = folder / f"relusweep-ray-{job}.log"
    until(lambda: slurm.jobs()[job] in ("COMPLETED", "FAILED"), seconds=240)
    assert slurm.jobs()[job] == "COMPLETED", log.read_text()
    untouched()
    slurm.clear()


@pytest.mark.slow
def test_library_leaves_path_and_environment_of_its_user_as_they_are(tmp_path: Path) -> None:
    code = """
import os, sys
before = list(sys.path), dict(os.environ)
import relusweep.cli, relusweep.cluster.slurm.start, relusweep.cluster.ray.start
from relusweep.cluster.local.forks import load_ahead, nameless
load_ahead()
with nameless():
    print(repr((sys.path, os.environ.get("PYTHONPATH"), os.environ["PYTHONSAFEPATH"])))
assert before == (list(sys.path), dict(os.environ))
"""
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    (mine := tmp_path / "mine").mkdir()
    given = f":{ROOT}:lib:{mine}"
    path, variable, safe = eval(started([sys.executable, str(script)], mine, PYTHONPATH=given))
    assert variable == f"{ROOT}:{mine}/lib:{mine}"  # what is named is kept, even the current folder
    assert safe == "1"
    assert {*variable.split(":")} <= {*path}
    assert str(tmp_path) not in path


def test_checkout_that_is_not_installed_is_found_by_what_it_starts(tmp_path: Path) -> None:
    code = "from relusweep.cluster.host.safe_path import secure; secure(); import os; print(os.environ['PYTHONPATH'])"
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", "-c", code]  # without installations
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    assert done.stdout == f"{ROOT}\n"


def test_worker_that_cannot_be_started_is_no_interrupt(
    monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def dies(*_: object) -> None:
        raise EOFError("unexpected EOF")

    monkeypatch.setattr(CONTEXT.Process, "start", dies)
    assert main(["run", str(tiny()), "--out", str(tmp_path / "store"), "--workers", "2"]) == 2
    said = capsys.readouterr().err
    assert "BackendError: no worker process can be started; expected one. See above, what ended it." in said
    assert "stopped" not in said


def test_truncated_file_is_no_interrupt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def ends(*_: object) -> None:
        raise EOFError("Ran out of input")

    monkeypatch.setattr(Store, "open", ends)
    with pytest.raises(EOFError, match="Ran out of input"):
        main(["status", str(tmp_path)])


def test_script_of_a_ray_cluster_starts_python_with_a_safe_path() -> None:
    line = re.search(r"^exec (.*)$", (ROOT / "slurm" / "ray_cluster.sbatch").read_text(encoding="utf-8"), flags=re.M)
    assert line is not None
    assert shlex.split(line[1])[:4] == ["python", "-P", "-m", "relusweep.cluster.ray.start"]
