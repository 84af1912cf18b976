"""Sources: what the data files hold that a spec names, each read once, when the spec is."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from relusweep.sweep import contents, data_file

Named = tuple[str, str | None, str | None]  # file, x_columns, y_column: as `run.NAMES`


class Sources:
    """The contents of data files by their names. In a store they are those that it keeps, wherever the files are."""

    def __init__(self, folder: Path) -> None:
        """Look nowhere yet.

        Args:
            folder: That of the spec, to which names are relative.
        """
        self.folder = folder
        self.contents: dict[Named, str] = {}
        self._kept = {
            (each["file"], each["x_columns"], each["y_column"]): each["content"] for each in contents.names(folder)
        }

    def look_up(self, names: Iterable[Named]) -> Mapping[Named, str]:
        """Return the contents by these names.

        Raises:
            DataError: for the first file that cannot be read.
        """
        found = {}
        for name in names:
            if name not in self.contents:
                self.contents[name] = self._content(*name)
            found[name] = self.contents[name]
        return found

    def _content(self, file: str, x_columns: str | None, y_column: str | None) -> str:
        if content := self._kept.get((file, x_columns, y_column)):
            contents.look_in(self.folder)
            return content
        return contents.remember(data_file.read(self.folder / file, x_columns, y_column))

    @property
    def digest(self) -> bytes:
        """Return the hash of all names and contents; nothing if there are none."""
        if not self.contents:
            return b""
        return hashlib.blake2b(json.dumps(sorted(map(repr, self.contents.items()))).encode()).digest()
