"""Doctor: what Ray needs on this machine: its library, token and cluster, folders for its sockets, shared memory."""

import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from relusweep.cluster.backend import BackendError
from relusweep.cluster.finding import Finding, found, library
from relusweep.cluster.ray.cluster import STORE_BYTES, address, reachable
from relusweep.cluster.ray.folder import is_short

_LEAST_PROCESSES = 4096  # threads count; a Ray worker has some thirty


def findings(needed: bool) -> Iterator[Finding]:
    """Yield what Ray needs, and whether it is there; `needed` if Ray is to be used."""
    yield library("ray", "ray", needed)
    yield _token(needed)
    if where := address():
        try:
            reachable(where)
            yield Finding("ok", f"RAY_ADDRESS={where}: reachable")
        except BackendError as error:
            yield found(False, needed, str(error))
    else:
        yield _temporary(needed)
    shared = Path("/dev/shm")
    free = shutil.disk_usage(shared).free if shared.exists() else 0
    yield found(
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
        return found(False, needed, f"{name}: {path}: {error.strerror}; expected the file with the cluster's token.")
    if not text:
        return found(False, needed, f"{name}: {path}: empty; expected the cluster's token.")
    if mode & 0o077:
        return found(
            False, needed, f"{name}: {path}: mode {mode:04o}; expected one only you can read. chmod 600 {path}"
        )
    return Finding("ok", f"{name}: {path}, only you can read it")


def _temporary(needed: bool) -> Finding:
    base = Path(tempfile.gettempdir())
    if not is_short(base):
        return Finding(
            "absent", f"{base}: too long a path for Ray's sockets; /tmp is taken. A shorter TMPDIR avoids that."
        )
    return found(os.access(base, os.W_OK), needed, f"{base}: short enough for Ray's sockets")
