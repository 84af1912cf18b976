"""Compiled: functions that numba turns into machine code on first use, kept on disk for the next process."""

import contextlib
import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

# Sums may be reordered and products fused, always in the same way; NaN and infinity keep their meaning.
OPTIONS: dict[str, Any] = {
    "nogil": True, "error_model": "numpy", "boundscheck": False, "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}  # fmt: skip


class _Kept(FunctionCache):
    """Compiled code on disk; compiled anew where damaged, or where a function that it may call has changed."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = (self._impl.locator.get_source_stamp(), sources())
        self._cache_file = IndexDataCacheFile(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            self.flush()
            return None


def kept_in() -> Path | None:
    """Say in which folder the next process finds what this one compiles; None if there is none to be written."""
    try:
        return Path(_Kept(kept_in)._cache_path)
    except RuntimeError:
        return None


@cache
def sources() -> str:
    """Hash the sources of all compiled functions."""
    texts = [path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py"))]
    return hashlib.blake2b(b"".join(texts), digest_size=8).hexdigest()


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a function for the types and constants that it meets; run-time checks around it are taken off."""
    dispatcher: Any = numba.njit(**OPTIONS, **options)(inspect.unwrap(function))
    with contextlib.suppress(RuntimeError):  # no directory to keep it in
        dispatcher._cache = _Kept(dispatcher.py_func)
    return dispatcher


def inlined(function: Callable[..., Any]) -> Any:
    """Compile as a part of the one function that calls it: half of the compiler's time."""
    return compiled(function, inline="always")
