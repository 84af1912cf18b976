"""Installation: the pins can be had together from the package index, and torch is the lightest build that fits."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = ROOT / "pyproject.toml"
PROJECT = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
CLASSIFIED = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", each)]
NEXT = "3.14"  # all libraries have builds for it; the tests have not been run there

# Stands for Python: makes an environment of itself, and notes what it is asked for.
FAKE = """\
#!/bin/sh
[ "$1 $2" = "-m venv" ] && mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp "$0" .venv/bin/uv
[ "$3 $4" = "config list" ] && echo "$PIP_CONFIG"
case "${0##*/} $1 $2 $3" in
  "python -m pip install"|"uv "*) echo "${0##*/} $*" >> asked ;;
esac
[ "${0##*/}" != uv ] || ${INDEX_ANSWERS-true}
"""
PROGRAMS = ("sh", "cp", "mkdir", "grep", "timeout", "touch")


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., list[str]]:
    """Run `make install` with few programs and a stand-in for Python; gives what was to be installed, and what was said."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).symlink_to(shutil.which(name) or "")
    (programs / "uname").write_text("#!/bin/sh\necho ${MACHINE-Linux x86_64}\n", encoding="utf-8")
    (programs / "uname").chmod(0o700)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(FAKE, encoding="utf-8")
    (tmp_path / "python").chmod(0o700)

    def call(*arguments: str, has: str = "", **environment: str) -> list[str]:
        if has:
            (programs / has).symlink_to(programs / "sh")
        variables = {"PATH": str(programs), **environment}
        given = [f"PYTHON={tmp_path}/python", f"NVIDIA_DEVICE={tmp_path}/no-device", *arguments]
        command = [shutil.which("make") or "", "--no-print-directory", "install", *given]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
        shown = [
            re.sub(r"-m pip install --quiet --disable-pip-version-check -c constraints.txt", "…", line)
            for line in lines
        ]
        return [*shown, *(line for line in done.stdout.splitlines() if line.startswith("make:"))]

    return call


AS_EVER = ["python … torch==2.13.0", "python … --editable .[dev]"]
UV = "uv pip install --quiet --python .venv/bin/python --torch-backend cpu --no-deps torch==2.13.0"


@pytest.mark.slow
@pytest.mark.parametrize("python", [*CLASSIFIED, NEXT])
def test_pins_can_be_had_together_from_the_package_index(python: str, tmp_path: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("no uv; pip install 'relusweep[dev]' brings it")
    place = ["--python-version", python, "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:"]
    pins = ["--extra", "dev", "--extra", "docs", "-c", "constraints.txt", PYPROJECT]
    command = [uv, "pip", "compile", "--no-config", "--quiet", *place, *pins]
    environment = os.environ | {"UV_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pinned = {*(ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    chosen = {line for line in done.stdout.splitlines() if re.match(r"(torch|triton|numpy|numba|ray)==", line)}
    assert len(chosen) == 5
    assert chosen <= pinned


def test_pins_cover_what_is_required() -> None:
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    asked = [*PROJECT["dependencies"], *(each for extra in PROJECT["optional-dependencies"].values() for each in extra)]
    assert {re.split(r"[\[><=; ]", each)[0] for each in asked} - {"relusweep"} <= pinned


def test_machine_without_a_gpu_gets_the_build_for_cpus(asked: Callable[..., list[str]]) -> None:
    assert asked() == [
        "python … uv", f"{UV} --dry-run", UV, *AS_EVER,
        "make: no GPU and no SLURM here, so torch is the build for CPUs. For GPUs: make install TORCH_INDEX=",
    ]  # fmt: skip


def test_index_that_does_not_answer_is_done_without(asked: Callable[..., list[str]]) -> None:
    assert asked(INDEX_ANSWERS="false") == [
        "python … uv", f"{UV} --dry-run", *AS_EVER,
        "make: no index of CPU builds of torch answers; taking what pip finds, perhaps with 6 GB of CUDA",
    ]  # fmt: skip


def test_machine_for_which_the_package_index_has_no_cuda_gets_what_it_has(asked: Callable[..., list[str]]) -> None:
    assert asked(MACHINE="Darwin arm64") == AS_EVER


@pytest.mark.parametrize("has", ["nvidia-smi", "sbatch"])
def test_machine_with_a_gpu_or_slurm_gets_what_the_package_index_has(asked: Callable[..., list[str]], has: str) -> None:
    assert asked(has=has) == AS_EVER


def test_machine_with_a_driver_of_gpus_gets_what_the_package_index_has(
    asked: Callable[..., list[str]], tmp_path: Path
) -> None:
    assert asked(f"NVIDIA_DEVICE={tmp_path}/Makefile") == AS_EVER


@pytest.mark.parametrize(
    "configured",
    ["global.index-url='mirror'", ":env:.find-links='wheels'", "user.extra-index-url='more'", "site.no-index='1'"],
)
def test_place_where_pip_is_to_look_is_respected(asked: Callable[..., list[str]], configured: str) -> None:
    assert asked(PIP_CONFIG=configured) == AS_EVER


def test_other_settings_of_pip_are_no_place(asked: Callable[..., list[str]]) -> None:
    assert asked(PIP_CONFIG="global.cert='/etc/index'")[0] == "python … uv"


def test_index_of_torch_can_be_chosen(asked: Callable[..., list[str]]) -> None:
    assert asked("TORCH_INDEX=here") == ["python … --no-deps --index-url here torch==2.13.0", *AS_EVER]


def test_build_with_cuda_can_be_chosen(asked: Callable[..., list[str]]) -> None:
    assert asked("TORCH_INDEX=") == AS_EVER
