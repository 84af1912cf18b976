"""Program: a generated source, loaded as a module; kept on disk with what numba makes of it."""

import atexit
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

import numba
from llvmlite.binding import get_host_cpu_name

from sweep.durable import replacing
from sweep.kernels.compiled import OPTIONS, sources


@cache
def program(source: str) -> ModuleType:
    """Load a program, from the disk if it has been written before.

    Its name is the hash of all that its machine code depends on, so that hosts of different kinds may share a home.
    """
    options = sorted((key, sorted(value) if isinstance(value, set) else value) for key, value in OPTIONS.items())
    made_by = (source, sources(), numba.__version__, get_host_cpu_name(), options)
    name = f"relusweep_{hashlib.blake2b(repr(made_by).encode(), digest_size=8).hexdigest()}"
    path = directory() / f"{name}.py"
    if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != source:
        with replacing(path) as temporary:
            temporary.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where numba looks for it
    spec.loader.exec_module(module)
    return module


@cache
def directory() -> Path:
    """Where programs are kept: in the user's cache, writable by nobody else, or in a directory of this process."""
    try:
        asked = Path(os.environ.get("XDG_CACHE_HOME", ""))
        home = (asked if asked.is_absolute() else Path.home() / ".cache") / "relusweep" / "kernels"
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)  # what lies there is executed; fails if it is another user's
        with tempfile.TemporaryFile(dir=home):
            return home
    except (OSError, RuntimeError):  # the latter where nobody has a home
        own = Path(tempfile.mkdtemp(prefix="relusweep-kernels-"))
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return own
