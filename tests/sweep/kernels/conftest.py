"""A folder for programs in which nothing lies yet."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relusweep.sweep.kernels.jit.program import program, user_cache


@pytest.fixture
def forget() -> Callable[[], None]:
    """Return what makes this process ask the disk again."""

    def clear() -> None:
        user_cache.cache_clear()
        program.cache_clear()

    return clear


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]) -> Iterator[Path]:
    """Yield the folder that the programs of a user whose cache is empty are kept in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget()
    yield tmp_path / "relusweep" / "kernels"
    forget()
