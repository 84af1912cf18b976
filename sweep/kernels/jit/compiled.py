"""Compiled: functions that numba turns into machine code on first use, kept on disk for the next process."""

import contextlib
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import event
from numba.core.caching import FunctionCache, IndexDataCacheFile

from relusweep.sweep.kernels.jit.private import weakness

numba.config.DISABLE_JIT = False  # set by who looks for errors in programs of his own, it would take ours apart

# Sums may be reordered and products fused, always in the same way; NaN and infinity keep their meaning.
OPTIONS: dict[str, Any] = {
    "nogil": True, "error_model": "numpy", "boundscheck": False, "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}  # fmt: skip


class _Files(IndexDataCacheFile):
    """Numba's files of a function, so that processes do not get in each other's way.

    Numba counts the names of contents up, and writes the index before them. Processes that compile for different types
    at once would take the same name, and load each other's code; one killed in between would leave the code of older
    sources under the new index.
    """

    def save(self, key: Any, data: Any) -> None:
        known = self._load_index()
        if not known:  # what lies here is of other sources
            for old in Path(self._cache_path).glob(f"{self._index_name.removesuffix('.nbi')}.*.nbc"):
                old.unlink(missing_ok=True)
        digest = hashlib.blake2b(repr((self._source_stamp, key)).encode(), digest_size=8).digest()
        name = self._data_name(int.from_bytes(digest, "big"))
        self._save_data(name, data)
        self._save_index(known | {key: name})


class _Cache(FunctionCache):
    """Compiled code on disk; compiled anew where damaged, or where a function that it may call has changed."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        # what was checked is what is used: a link on the way there could be changed afterwards
        kept, beside = Path(self._cache_path).resolve(), Path(inspect.getfile(function)).resolve().parent
        if not kept.is_relative_to(beside) and weakness(kept):  # what lies there is unpickled
            raise RuntimeError(f"{kept} can be written by others")
        own = hashlib.blake2b(Path(inspect.getfile(function)).read_bytes(), digest_size=8).hexdigest()
        self._cache_path = str(kept)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, (own, sources()))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(OSError):  # a full disk, a used-up quota: the next process compiles again
            super().save_overload(sig, data)


class _Announcer(event.Listener):
    """Calls a function whenever a compilation begins that is no part of another."""

    def __init__(self, begins: Callable[[], None]) -> None:
        self.begins, self.depth = begins, 0

    def on_start(self, event: Any) -> None:
        self.depth += 1
        if self.depth == 1:
            self.begins()

    def on_end(self, event: Any) -> None:
        self.depth -= 1


@contextlib.contextmanager
def announcing(begins: Callable[[], None]) -> Iterator[None]:
    """Call `begins` when the compiler starts meanwhile, which takes seconds; not where the disk has its result."""
    with event.install_listener("numba:compile", _Announcer(begins)):
        yield


def announced_once(say: Callable[[str], None]) -> contextlib.AbstractContextManager[None]:
    """Inform a user at a terminal, once, why nothing moves meanwhile, if the compiler is at work."""
    if not sys.stderr.isatty():
        return contextlib.nullcontext()
    return announcing(cache(lambda: say("compiling programs for a shape of network that is new to this machine …")))


def cache_directory() -> Path | None:
    """Return the folder where the next process finds what this one compiles; None if none can be written."""
    try:
        return Path(_Cache(cache_directory)._cache_path)
    except RuntimeError:
        return None


@cache
def sources() -> str:
    """Hash the sources of all compiled functions."""
    texts = [path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    return hashlib.blake2b(b"".join(texts), digest_size=8).hexdigest()


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a function for the types and constants that it meets; run-time checks around it are taken off."""
    dispatcher: Any = numba.njit(**OPTIONS, **options)(inspect.unwrap(function))
    with contextlib.suppress(RuntimeError):  # no directory to keep it in
        dispatcher._cache = _Cache(dispatcher.py_func)
    return dispatcher


def inlined(function: Callable[..., Any]) -> Any:
    """Compile as a part of the one function that calls it: half of the compiler's time."""
    return compiled(function, inline="always")
