"""Shelf: what users bring along, of one kind, by the hash of what it holds: in memory and in the stores that keep it.

A store keeps in `files/` what its runs were trained on, so that whoever has it needs no other file. Each is read once a
process.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from relusweep.sweep.dataset import DataError
from relusweep.sweep.store.atomic import replacing, store_errors

Thing = TypeVar("Thing")
_folders: dict[Path, None] = {}  # where what was not read may be


def look_in(folder: Path) -> None:
    """Find from now on what a store keeps in a folder."""
    _folders.setdefault(folder)


class UnsafeError(DataError):
    """A file is not read, since another user could have written it."""


class Shelf(Generic[Thing]):
    """Things of one kind."""

    def __init__(
        self,
        noun: str,
        suffix: str,
        content_of: Callable[[Thing], str],
        read: Callable[[Path], Thing],
        write: Callable[[Thing, Path], None],
    ) -> None:
        """Know none yet.

        Args:
            noun: What errors call what a file holds.
            suffix: Of the files that a store keeps; before it stands the content.
            content_of: Returns 32 hexadecimal digits.
            read: Reads a file; raises a DataError for what is none.
            write: Writes one.
        """
        self.noun, self.suffix, self.content_of, self._read, self._write = noun, suffix, content_of, read, write
        self._known: dict[str, Thing] = {}

    def file(self, content: str) -> str:
        """Return the name of the file in which a store keeps a content."""
        return f"{content}{self.suffix}"

    def remember(self, thing: Thing) -> str:
        """Keep a thing in memory, and return its content."""
        content = self.content_of(thing)
        self._known.setdefault(content, thing)
        return content

    def known(self, content: str) -> Thing | None:
        """Return a thing that is in memory."""
        return self._known.get(content)

    def find(self, content: str, name: str) -> Thing:
        """Return a thing by its content.

        Args:
            content: The hash of what it holds.
            name: What errors call it.

        Raises:
            DataError: if no store that was looked in keeps it, or what it keeps is damaged.
        """
        if content not in self._known:
            kept = [folder / self.file(content) for folder in _folders]
            path = next((path for path in kept if path.is_file()), None)
            if path is None:
                places = ", ".join(str(each.parent) for each in kept) or "no store was opened"
                raise DataError(
                    f"{name}: content {content} is not there ({places}); expected a store that keeps the {self.noun}. "
                    "Put the file back, and run its spec with this --out."
                )
            self._known[content] = self.read_kept(path)
        return self._known[content]

    def read_kept(self, path: Path) -> Thing:
        """Read what a store keeps.

        Raises:
            DataError: if it is not what was written.
        """
        try:
            thing = self._read(path)
        except UnsafeError:
            raise
        except DataError as error:
            raise DataError(self._damaged(path, str(error).removeprefix(f"{path}: "))) from None
        if self.content_of(thing) != path.name.removesuffix(self.suffix):
            raise DataError(self._damaged(path, "it holds something else"))
        return thing

    def _damaged(self, path: Path, why: str) -> str:
        return (
            f"{path}: differs from what was written ({why.partition(';')[0]}); expected the {self.noun} of its name. "
            "Run the spec with the original file again, and it is written anew."
        )

    def keep(self, content: str, store: Path, name: str) -> None:
        """Write a thing into a store, unless it has it.

        Raises:
            StoreError: if the store cannot be written.
            DataError: if it is nowhere else.
        """
        path = store / "files" / self.file(content)
        try:
            self._known.setdefault(content, self.read_kept(path))
        except DataError:
            thing = self.find(content, name)
            with store_errors(path):
                path.parent.mkdir(exist_ok=True, mode=0o700)
                with replacing(path) as temporary:
                    self._write(thing, temporary)
