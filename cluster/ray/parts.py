"""Parts: in how many a pack is tried, where the worker that had it whole was killed for want of memory.

A kill leaves no message. But a worker notes where it begins with a pack, and how many processes the kernel there has
killed for want of memory; the next one sees whether they have become more. What Ray kills, it tells the driver.
"""

import json
import platform
import re
from pathlib import Path
from typing import Any

from relusweep.cluster.host.memory import kills
from relusweep.sweep.pack import Pack
from relusweep.sweep.store.atomic import write_json

_OF_MEMORY = re.compile(r"low on memory|OUT_OF_MEMORY|OutOfMemory")  # in what Ray says of a worker that it has killed


def begun(folder: Path, number: int, runs: int) -> int:
    """Return how many times a pack is to be halved in this attempt, at most until its runs are alone; note the attempt.

    Args:
        folder: That of the driver.
        number: Of the pack.
        runs: How many it has.
    """
    path, now = _path(folder, number), {"node": platform.node(), "kills": kills()}
    last = _read(path)
    is_here = last.get("node") == now["node"]
    starved = last.get("starved", False) or (is_here and now["kills"] > last["kills"])
    halvings = min(last.get("halvings", 0) + starved, (runs - 1).bit_length())
    write_json(path, now | {"halvings": halvings})
    return halvings


def starved(folder: Path, number: int, said: str) -> bool:
    """Return whether Ray said that it killed a pack's worker for want of memory; note it for the next attempt."""
    if found := _OF_MEMORY.search(said) is not None:
        path = _path(folder, number)
        write_json(path, _read(path) | {"starved": True})
    return found


def parts(pack: Pack, halvings: int) -> list[Pack]:
    """Return a pack, its halves, the halves of these, and so on."""
    found = [pack]
    for _ in range(halvings):
        found = [half for part in found for half in part.halves]
    return found


def _path(folder: Path, number: int) -> Path:
    return folder / f"attempt-{number}.json"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes()) if path.exists() else {}
