"""Process: what tells one process from every other, and whether one that is named so is alive.

On Linux by the kernel's boot id, the namespaces of process ids and of time, and the start in clock ticks since that
boot, which no step of the wall clock moves; elsewhere by the host's name and the start in seconds.
"""

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import psutil

_FIRST_NAMESPACE = "pid:[4026531836]"  # of process ids: the one that a kernel starts with


def identity() -> dict[str, Any]:
    """Return what tells this process from every other, as values of JSON."""
    started = psutil.Process().create_time()  # for versions that know nothing better
    found = {"host": platform.node(), "pid": os.getpid(), "started": started, "kernel": _kernel()}
    return found | ({"ticks": _state(os.getpid())[1]} if _kernel() else {})


def is_alive(named: Mapping[str, Any]) -> bool | None:
    """Return whether a process with this identity is alive; None if that cannot be seen from here."""
    pid, kernel = named["pid"], named.get("kernel")
    if kernel is None and _kernel() is None and named["host"] == platform.node():
        return _is_alive_without_proc(pid, named["started"])
    if kernel is None or kernel != _kernel():
        return None  # another host, another container, or a version that did not say
    try:
        state, ticks = _state(pid)
    except OSError:
        return None if _exists(pid) else False  # /proc may hide the processes of other users
    return ticks == named.get("ticks") and state not in "ZX"  # killed, and not yet waited for by its parent


def name(named: Mapping[str, Any]) -> str:
    """Return what people call a process: its host and number, with the namespace if it is not the first one's."""
    spaces = str(named.get("kernel") or _FIRST_NAMESPACE).split()
    inside = "" if _FIRST_NAMESPACE in spaces else f".{''.join(filter(str.isdigit, ''.join(spaces[1:2])))}"
    return f"{named['host']}{inside}-{named['pid']}"


@cache
def _kernel() -> str | None:
    """Return the boot id and the namespaces in which numbers of processes mean something; None without /proc."""
    try:
        if int(Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").split()[0]) != os.getpid():
            return None  # /proc shows the processes of another namespace
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        spaces = [os.readlink(path) for kind in ("pid", "time") if os.path.lexists(path := f"/proc/self/ns/{kind}")]
        return " ".join([boot, *spaces]) if spaces else None
    except (OSError, ValueError):
        return None


def _state(pid: int) -> tuple[str, int]:
    """Return the state of a process, a letter, and its start in ticks since the boot."""
    line = Path(f"/proc/{pid:d}/stat").read_text(encoding="ascii", errors="replace")
    fields = line.rpartition(")")[2].split()  # what is in brackets may be anything
    return fields[0], int(fields[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_alive_without_proc(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
