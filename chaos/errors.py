"""Errors: a library that makes calls of the file system fail, compiled where it is needed."""

import atexit
import errno
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

CALLS = ("open", "read", "write", "fsync", "rename", "link", "unlink", "mkdir")
NUMBERS = {name: getattr(errno, name) for name in ("EIO", "ENOSPC", "ESTALE", "EACCES")}


@cache
def _library() -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("chaos: no C compiler; expected cc, for calls that fail. apt-get install gcc libc6-dev")
    folder = tempfile.mkdtemp(prefix="chaos-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    built = Path(folder) / "refuse.so"
    source = Path(__file__).with_name("refuse.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", built, source, "-ldl"], check=True)
    return built


def variables(folder: Path, call: str, number: int, first: int, times: int) -> dict[str, str]:
    """Return the environment in which calls about files below a folder fail.

    Args:
        folder: Where.
        call: One of `CALLS`.
        number: With which errno.
        first: From which such call of a process on, counted from 1.
        times: How many of them; all if negative.
    """
    return {
        "LD_PRELOAD": str(_library()), "CHAOS_FOLDER": str(folder), "CHAOS_CALL": call, "CHAOS_ERROR": str(number),
        "CHAOS_FROM": str(first), "CHAOS_TIMES": str(times),
    }  # fmt: skip
