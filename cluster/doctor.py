"""Doctor: looks for what a back-end needs on this machine, and reports what is missing, each with its cure."""

import os
import platform
import resource
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch

from relusweep.cluster.backend import BackendError, check_name
from relusweep.cluster.ray.cluster import STORE_BYTES, address, reachable
from relusweep.cluster.ray.folder import is_short
from relusweep.sweep.device import device_name, devices
from relusweep.sweep.kernels.jit.compiled import cache_directory
from relusweep.sweep.kernels.jit.program import user_cache
from relusweep.sweep.kernels.training.persistent import unsupported_reason
from relusweep.sweep.store.atomic import replacing

_SECONDS = 10.0  # for an answer of SLURM
_SERVER_SECONDS = 2.0
_LEAST_BYTES = 2**30  # on the store's disk
_LEAST_PROCESSES = 4096  # threads count; a Ray worker has some thirty
_COMMANDS = ("sbatch", "squeue", "scontrol", "scancel")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for: a line for the user. `absent` is not there and not needed, `missing` is."""

    state: Literal["ok", "absent", "missing"]
    text: str


def examine(on: str, out_dir: Path) -> Iterator[Finding]:
    """Yield what is found on this machine.

    Args:
        on: The back-end that is to be used; what only others need may be absent.
        out_dir: The store, or where it is to be.

    Raises:
        BackendError: if there is no such back-end.
    """
    check_name(on)
    yield from _devices()
    yield _kernels()
    yield _disk(out_dir)
    yield _library("ray", "ray", on)
    yield from _ray(on)
    yield _library("submitit", "slurm", on)
    yield from _slurm(on)
    yield _server("Prometheus", "RAY_PROMETHEUS_HOST", "http://localhost:9090", "/-/healthy")
    yield _server("Grafana", "RAY_GRAFANA_HOST", "http://localhost:3000", "/api/health")


def _found(is_there: bool, needed: bool, text: str) -> Finding:
    return Finding("ok" if is_there else "missing" if needed else "absent", text)


def _devices() -> Iterator[Finding]:
    yield Finding("ok", f"Python {platform.python_version()}, torch {torch.__version__}")
    found = devices()
    for device in found if found[0].type == "cuda" else ():
        free, whole = torch.cuda.mem_get_info(device)
        yield Finding("ok", f"{device}: {device_name(device)}, {free / 2**30:.1f} of {whole / 2**30:.1f} GiB free")
        if why := unsupported_reason(device):
            cure = "Install gcc and Python's headers (python3-dev)."
            yield Finding("absent", f"{device}: Triton makes no code for it, and slower kernels train: {why}. {cure}")
    if found[0].type == "cpu":
        mine, all_ = len(os.sched_getaffinity(0)), os.cpu_count()
        yield Finding("ok", f"cores: {mine} of {all_} are ours")
        if torch.version.cuda:
            cure = "Compare CUDA_VISIBLE_DEVICES, and the driver's CUDA version in nvidia-smi."
            yield Finding("absent", f"GPU: torch is built for CUDA {torch.version.cuda} and finds none. {cure}")
        elif shutil.which("nvidia-smi"):
            cure = "Install a CUDA build of torch: slurm/README.md, step 1."
            yield Finding("absent", f"GPU: there is nvidia-smi, but torch is built without CUDA. {cure}")


def _kernels() -> Finding:
    kept, programs = cache_directory(), user_cache()
    if kept is None:
        return Finding("absent", "compiled kernels: nowhere to keep them. Set NUMBA_CACHE_DIR to a folder of yours.")
    if programs is None:
        return Finding("absent", "compiled kernels: no cache to keep them in. Set XDG_CACHE_HOME to a folder of yours.")
    return Finding("ok", f"compiled kernels: kept in {kept} and {programs}")


def _disk(out_dir: Path) -> Finding:
    place = next(each for each in [out_dir.absolute(), *out_dir.absolute().parents] if each.exists())
    try:
        with replacing(place / "relusweep-doctor") as temporary:
            temporary.touch(mode=0o600)
        (place / "relusweep-doctor").unlink(missing_ok=True)
    except OSError as error:
        line = f"store: {place}: {error.strerror}; expected a folder that can be written. Choose another --out."
        return Finding("missing", line)
    free = shutil.disk_usage(place).free
    if free < _LEAST_BYTES:
        problem = f"{free / 2**20:.0f} MiB free; expected {_LEAST_BYTES / 2**30:.0f} GiB. Choose another --out."
        return Finding("missing", f"store: {place}: {problem}")
    return Finding("ok", f"store: {place}: can be written, {free / 2**30:.1f} GiB free")


def _library(name: str, extra: str, on: str) -> Finding:
    try:
        return Finding("ok", f"{name} {version(name)}")
    except PackageNotFoundError:
        return _found(
            False, extra == on, f"{name}: not installed; --on {extra} needs it. pip install 'relusweep[{extra}]'"
        )


def _ray(on: str) -> Iterator[Finding]:
    needed = on == "ray"
    yield _token(needed)
    if where := address():
        try:
            reachable(where)
            yield Finding("ok", f"RAY_ADDRESS={where}: reachable")
        except BackendError as error:
            yield _found(False, needed, str(error))
    else:
        yield _temporary(needed)
    shared = Path("/dev/shm")
    free = shutil.disk_usage(shared).free if shared.exists() else 0
    yield _found(
        free > STORE_BYTES, needed,
        f"{shared}: {free / 2**20:.0f} MiB free; Ray needs {STORE_BYTES / 2**20:.0f}"
        + ("" if free > STORE_BYTES else ". Remove what lies there, or ask for a larger one."),
    )  # fmt: skip
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if most != resource.RLIM_INFINITY and most < _LEAST_PROCESSES:
        cure = f"ulimit -u {_LEAST_PROCESSES}, or fewer --workers."
        yield Finding("absent", f"threads: {most} are allowed; Ray may want {_LEAST_PROCESSES}. {cure}")


def _token(needed: bool) -> Finding:
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Finding("ok", "RAY_AUTH_TOKEN: holds a token")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    name, path = ("RAY_AUTH_TOKEN_PATH", Path(named)) if named else ("token", Path("~/.ray/auth_token").expanduser())
    if not named and not path.exists():
        made = "none, as a cluster is asked for none" if address() else "made for each sweep"
        return Finding("ok", f"{name}: {made}")
    if not address():
        return Finding("ok", f"{name}: made for each sweep; {path} is not used")
    try:
        text, mode = path.read_text().strip(), path.stat().st_mode & 0o777
    except OSError as error:
        return _found(False, needed, f"{name}: {path}: {error.strerror}; expected the file with the cluster's token.")
    if not text:
        return _found(False, needed, f"{name}: {path}: empty; expected the cluster's token.")
    if mode & 0o077:
        return _found(
            False, needed, f"{name}: {path}: mode {mode:04o}; expected one only you can read. chmod 600 {path}"
        )
    return Finding("ok", f"{name}: {path}, only you can read it")


def _temporary(needed: bool) -> Finding:
    base = Path(tempfile.gettempdir())
    if not is_short(base):
        return Finding(
            "absent", f"{base}: too long a path for Ray's sockets; /tmp is taken. A shorter TMPDIR avoids that."
        )
    return _found(os.access(base, os.W_OK), needed, f"{base}: short enough for Ray's sockets")


def _slurm(on: str) -> Iterator[Finding]:
    needed = on == "slurm"
    if lacking := [command for command in _COMMANDS if shutil.which(command) is None]:
        cure = "Use a login node; SLURM may come in a module."
        yield _found(False, needed, f"SLURM: no {', '.join(lacking)}; --on slurm needs them. {cure}")
        return
    answer = _answer("scontrol", "ping")
    is_up = answer is not None and " UP" in answer
    yield _found(
        is_up, needed, "SLURM: " + ("answers" if is_up else "scontrol ping finds no controller. Try again later.")
    )
    if is_up and _answer("sacct", "-n", "-X", "-j", "1") is None:
        yield Finding("absent", "SLURM: no accounting; how jobs ended that left the queue stays unknown.")


def _answer(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def _server(name: str, variable: str, default: str, page: str) -> Finding:
    where = os.environ.get(variable, default)
    try:
        with urllib.request.urlopen(where.rstrip("/") + page, timeout=_SERVER_SECONDS):
            return Finding("ok", f"{name}: {where} answers")
    except (OSError, ValueError):
        cure = f"To see curves: slurm/monitoring; {variable} says where it is."
        return Finding("absent", f"{name}: {where} does not answer. {cure}")
