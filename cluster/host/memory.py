"""Memory: how much this process and its workers may take: what the machine has left, and its control groups.

`srun --mem`, containers and many login nodes set a limit far below the machine's memory, and kill who goes beyond it.
"""

from collections.abc import Iterator
from pathlib import Path

import psutil

_MOUNT = Path("/sys/fs/cgroup")
_GROUPS = Path("/proc/self/cgroup")
_COUNTERS = Path("/proc/vmstat")

# limit, use, and in memory.stat what of the use is given back when the room is needed
_UNIFIED = ("memory.max", "memory.current", "inactive_file")
_FIRST_VERSION = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available(mount: Path = _MOUNT, groups: Path = _GROUPS) -> int:
    """Return the bytes that may still be taken: the least of the machine's and of every control group's around us."""
    return min([psutil.virtual_memory().available, *_left(mount, groups)])


def kills(counters: Path = _COUNTERS) -> int:
    """Return how many processes this kernel has killed for want of memory since its boot; 0 where it does not say."""
    try:
        counted = dict(line.split() for line in counters.read_text(encoding="ascii").splitlines())
        return int(counted.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0


def _left(mount: Path, groups: Path) -> Iterator[int]:
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            roots, names = (mount, mount / "unified"), _UNIFIED
        elif "memory" in controllers.split(","):
            roots, names = (mount / "memory", mount / controllers), _FIRST_VERSION
        else:
            continue
        for root in roots:
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):  # a container sees its own group at the root, under another path
                if folder.is_relative_to(root) and (left := _left_in(folder, *names)) is not None:
                    yield left


def _left_in(folder: Path, limit: str, use: str, kept: str) -> int | None:
    """Return what a group leaves; None if it sets no limit, or there is none of that name."""
    try:
        most = (folder / limit).read_text().strip()
        if most == "max":
            return None
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(int(most) - int((folder / use).read_text()) + int(stat.get(kept, 0)), 0)
    except (OSError, ValueError):
        return None
