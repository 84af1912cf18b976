"""Stage: a place where sweeps are disturbed, by what, and for how much of a campaign's time."""

import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from chaos.scene import Scene
from chaos.sweep import Sweeps

Fault = Callable[[Any], None]  # disturbs a scene of its stage once
Maker = Callable[[Path, random.Random], Scene]  # of scenes, each in a folder of its own


@dataclass(frozen=True)
class Stage:
    """One of them.

    opened: what its scenes need, from `with` to its end. lacking: why there can be none here; empty if there can.
    share: of the time. faults_a_scene: one after the other. is_alone: whether its scenes are not played side by side.
    """

    faults: dict[str, Fault]
    opened: Callable[[Path, Sweeps], AbstractContextManager[Maker]]
    lacking: Callable[[], str] = lambda: ""
    share: float = 1.0
    faults_a_scene: int = 6
    is_alone: bool = True


@contextmanager
def alone(make: Maker) -> Iterator[Maker]:
    """Open a stage whose scenes need nothing."""
    yield make


@cache
def has_own_disks(folder: Path) -> bool:
    """Return whether we may mount disks there."""
    place = folder / "mounted"
    place.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True, check=False).returncode == 0
    if mounted:
        subprocess.run(["umount", place], check=True)
    return mounted
