"""Doctor: looks for what a back-end needs on this machine, and reports what is missing, each with its cure."""

import importlib
import os
import platform
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from relusweep.cluster.backend import check_name
from relusweep.cluster.finding import Finding
from relusweep.cluster.host.cores import own_cores
from relusweep.sweep.device import device_name, devices
from relusweep.sweep.kernels.jit.compiled import cache_directory
from relusweep.sweep.kernels.jit.program import user_cache
from relusweep.sweep.kernels.training.persistent import unsupported_reason
from relusweep.sweep.store.atomic import UNSYNCED, replacing, sync

_SERVER_SECONDS = 2.0
_LEAST_BYTES = 2**30  # on the store's disk

Checks = Callable[[bool], Iterator[Finding]]  # of a back-end; given whether it is to be used


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
    for name, place in CHECKS.items():
        module, attribute = place.split(":")
        findings: Checks = getattr(importlib.import_module(module), attribute)
        yield from findings(name == on)
    yield _server("Prometheus", "RAY_PROMETHEUS_HOST", "http://localhost:9090", "/-/healthy")
    yield _server("Grafana", "RAY_GRAFANA_HOST", "http://localhost:3000", "/api/health")


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
        mine, all_ = own_cores(), os.cpu_count()
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
    warning = "" if sync(place) else f"; {UNSYNCED}"
    return Finding("ok", f"store: {place}: can be written, {free / 2**30:.1f} GiB free{warning}")


def _server(name: str, variable: str, default: str, page: str) -> Finding:
    where = os.environ.get(variable, default)
    try:
        with urllib.request.urlopen(where.rstrip("/") + page, timeout=_SERVER_SECONDS):
            return Finding("ok", f"{name}: {where} answers")
    except (OSError, ValueError):
        cure = f"To see curves: slurm/monitoring; {variable} says where it is."
        return Finding("absent", f"{name}: {where} does not answer. {cure}")


# What each back-end looks for, in the order of the report; `local` needs no more than the machine.
CHECKS = {
    "ray": "relusweep.cluster.ray.doctor:findings",
    "slurm": "relusweep.cluster.slurm.doctor:findings",
}
