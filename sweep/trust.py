"""Trust: which Python of a user's this process may run. None, unless the one who typed the command chose to.

Whoever runs a spec of his own chose its files; whoever opens a store may not know what lies in it. So what was run from
a user's own files, or was taken by `--trust`, is remembered by its hash, in a folder that only he can write; everything
else in a store is refused before any of it runs. A worker runs what its launcher hands to it.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from relusweep.sweep.dataset import DataError
from relusweep.sweep.kernels.jit.private import weakness

_permitted: set[str] = set()


class TrustError(DataError):
    """Python would have to run that the one who typed the command has not chosen to run."""


def permit(contents: Iterable[str]) -> None:
    """Let this process run code of these contents from now on."""
    _permitted.update(contents)


def take(contents: Iterable[str]) -> None:
    """Let this process run code of these contents, and every later one of this user, until it is forgotten.

    Without a folder for that, or with a full disk, it is for this process alone.
    """
    for content in contents:
        _permitted.add(content)
        if folder := _folder(make=True):
            try:
                (folder / content).touch(mode=0o600)
            except OSError:
                return


def refuse(content: str, what: str) -> None:
    """Refuse to run code that was neither permitted nor taken.

    Args:
        content: The hash of its bytes.
        what: What the refusal calls it.

    Raises:
        TrustError: if it may not run.
    """
    if content in _permitted:
        return
    folder = _folder(make=False)
    if folder is None or not (folder / content).is_file():
        raise TrustError(
            f"{what}: Python that a store brought along, and that you have not run before; expected that you have read "
            "it. Then add --trust."
        )
    _permitted.add(content)


def _folder(*, make: bool) -> Path | None:
    """Return where it is remembered what was taken; None if there is no such place that this user alone can write."""
    try:
        asked = Path(os.environ.get("XDG_STATE_HOME", ""))
        folder = (asked if asked.is_absolute() else Path.home() / ".local" / "state") / "relusweep" / "trusted"
        if make:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = folder.resolve()  # before it is looked at: links on the way there may be changed
        return None if weakness(folder) else folder
    except (OSError, RuntimeError):  # no home
        return None
