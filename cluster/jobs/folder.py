"""Job folder: `jobs/<id>` of a store, where a launcher leaves what its workers on other machines need to read.

Its launcher holds a lease on it while it is being made. A folder that no living launcher holds, and in which nothing
was published, is of no use to anyone: the next launcher removes it.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from relusweep.sweep.store.atomic import store_errors
from relusweep.sweep.store.lease import active_packs, leased
from relusweep.sweep.store.store import Store

_ID_BYTES = 6
_PUBLISHED = "submission.json"  # in a folder that others than its launcher may use


@dataclass(frozen=True)
class JobFolder:
    """One of them."""

    path: Path

    @staticmethod
    def new(store: Store) -> "JobFolder":
        """Return one of a name that no other has; `make` makes it."""
        return JobFolder(store.path / "jobs" / secrets.token_hex(_ID_BYTES))

    @staticmethod
    def all_of(store: Store) -> "list[JobFolder]":
        """Return those of a store, in no order: only what is named as `new` does, and no links to elsewhere."""
        found = (store.path / "jobs").glob("[0-9a-f]" * 2 * _ID_BYTES)
        return [JobFolder(path) for path in found if not path.is_symlink()]

    @property
    def id(self) -> str:
        """What it is called."""
        return self.path.name

    @property
    def store(self) -> Store:
        """The store in which it lies."""
        return Store(self.path.parent.parent)

    @property
    def is_published(self) -> bool:
        """Whether others than its launcher may know of it."""
        return (self.path / _PUBLISHED).exists()

    @property
    def is_held(self) -> bool:
        """Whether its launcher is making it, and alive."""
        return self.id in active_packs(self.store)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Show other launchers that this one is making it."""
        with leased(self.store, self.id, ()):
            yield

    def make(self, *inside: str) -> None:
        """Make it, with folders inside; while it is held, or another launcher removes it.

        Raises:
            StoreError: if the file system refuses.
        """
        with store_errors(self.path):
            self.path.parent.mkdir(exist_ok=True, mode=0o700)
            _remove_abandoned(self.store)
            for made in (self.path, *(self.path / name for name in inside)):
                made.mkdir(mode=0o700)

    def release(self) -> None:
        """Delete the lease of a launcher that was killed: no other will take it over."""
        (self.store.path / "claims" / f"{self.id}.json").unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete it as if it had never been."""
        (self.path / _PUBLISHED).unlink(missing_ok=True)  # first, so that the rest is not believed
        shutil.rmtree(self.path, ignore_errors=True)


def _remove_abandoned(store: Store) -> None:
    """Delete what killed launchers left unpublished."""
    found = JobFolder.all_of(store)
    living = active_packs(store)  # asked afterwards: who makes a folder holds it
    for folder in found:
        if folder.id not in living and not folder.is_published:
            folder.remove()
            folder.release()
