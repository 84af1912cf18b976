"""Program: a generated source, loaded as a module; kept on disk with what numba makes of it."""

import atexit
import contextlib
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from types import ModuleType

import numba
from llvmlite.binding import get_host_cpu_name

from relusweep.sweep.kernels.jit.compiled import OPTIONS, sources
from relusweep.sweep.kernels.jit.private import CacheError, weakness
from relusweep.sweep.store.atomic import replacing

_DAY = 86_400
_UNUSED_DAYS = 60  # after which a program is deleted


@cache
def program(source: str) -> ModuleType:
    """Load a program, from the disk if it has been written before.

    Its name is the hash of all that its machine code depends on, so that hosts of different kinds may share a home.
    """
    options = sorted((key, sorted(value) if isinstance(value, set) else value) for key, value in OPTIONS.items())
    made_by = (source, sources(), numba.__version__, get_host_cpu_name(), options)
    name = f"relusweep_{hashlib.blake2b(repr(made_by).encode(), digest_size=8).hexdigest()}"
    try:
        path = _written(directory() / f"{name}.py", source)
    except OSError:  # a full disk, a used-up quota, a folder that has gone
        path = _written(_own() / f"{name}.py", source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where numba looks for it
    spec.loader.exec_module(module)
    return module


def directory() -> Path:
    """Return where programs are kept: in the user's cache, or in a directory of this process."""
    return user_cache() or _own()


@cache
def user_cache() -> Path | None:
    """Return the folder for programs in the user's cache, writable by no other user; None if none can be had."""
    try:
        asked = Path(os.environ.get("XDG_CACHE_HOME", ""))
        folder = (asked if asked.is_absolute() else Path.home() / ".cache") / "relusweep" / "kernels"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = folder.resolve()  # before it is looked at: links on the way there may be changed
        if weakness(folder):  # also if it could be written by others until now: who knows what they left there
            return None
        folder.chmod(0o700)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # the latter where the user has no home
        return None


@cache
def _own() -> Path:
    own = Path(tempfile.mkdtemp(prefix="relusweep-kernels-", dir=os.path.realpath(tempfile.gettempdir())))
    if why := weakness(own):
        shutil.rmtree(own, ignore_errors=True)
        raise CacheError(f"TMPDIR: {why}; expected a folder of yours: programs are executed from there. Set another.")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _written(path: Path, source: str) -> Path:
    """See to it that the source is there; its time says, to the day, when it was used last."""
    if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != source:
        with replacing(path) as temporary:
            temporary.write_text(source, encoding="utf-8")
        _forget_unused(path.parent)
    elif time.time() - path.stat().st_mtime > _DAY:
        os.utime(path)
    return path


def _forget_unused(folder: Path) -> None:
    """Delete programs that were not asked for in a long time: most of them are of other versions."""
    with contextlib.suppress(OSError):  # another process deletes them too
        files = [*folder.glob("relusweep_*.py"), *folder.glob("__pycache__/relusweep_*")]
        long_ago = time.time() - _UNUSED_DAYS * _DAY
        unused = {path.stem for path in folder.glob("relusweep_*.py") if path.stat().st_mtime < long_ago}
        for path in files:
            if path.name.partition(".")[0] in unused:
                path.unlink(missing_ok=True)
