"""Clock: the time as the file system of a store counts it, the same for all hosts that write there."""

import secrets
import time
from contextlib import suppress
from pathlib import Path

_SECONDS = 5.0  # for which one look at the file system serves
_looks: dict[Path, tuple[float, float]] = {}  # what it said, and when by a clock that is never set


def now(folder: Path) -> float:
    """Return the seconds of the epoch by the file system's clock; by our own where nothing can be written."""
    said, when = _looks.get(folder, (0.0, -_SECONDS))
    if time.monotonic() - when >= _SECONDS:
        said, when = _asked(folder), time.monotonic()
        _looks[folder] = said, when
    return said + time.monotonic() - when


def _asked(folder: Path) -> float:
    probe = folder / f".{secrets.token_hex(4)}.clock.tmp"
    try:
        probe.touch(mode=0o600)
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink()
