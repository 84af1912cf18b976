"""Safe path: modules come from installations and from where PYTHONPATH says, not from the folder one happens to be in.

A user's `random.py` or `signal.py` would otherwise take the place of Python's own: `python -m` and `python -c` put the
current folder first, a script its own, and an empty entry of PYTHONPATH, as `PYTHONPATH=$PYTHONPATH:/opt/lib` leaves
it behind, means the current folder too. Entry points call `secure` before they import anything else; so this module
imports only what Python itself has loaded by then.
"""

import os
import sys

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # relusweep
PLACE = os.path.dirname(_PACKAGE)  # where it was found


def secure() -> None:
    """Search for modules only where the user chose to have them, in this process and in all that it starts."""
    sys.path[:], variables = _safe()
    _export(variables)


class Secured:
    """The same for as long as a `with` lasts: for processes that are started by a program which is not ours."""

    def __enter__(self) -> None:
        """Change the path and the environment."""
        path, variables = _safe()
        self._path, sys.path = sys.path, path
        self._variables = {name: os.environ.get(name) for name in variables}
        _export(variables)

    def __exit__(self, *_: object) -> None:
        """Change them back."""
        sys.path = self._path
        _export(self._variables)


def _safe() -> tuple[list[str], dict[str, str | None]]:
    """Return the safe path of this process, and the variables that give it to those it starts."""
    try:
        here = os.getcwd()
    except OSError:  # it has been deleted
        here = ""
    named = [os.path.join(here, entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    known = {os.path.normpath(entry) for entry in named}
    script = os.path.join(here, sys.argv[0] if sys.argv else "")
    by_chance = {"", here, os.path.dirname(script), os.path.dirname(os.path.realpath(script))} - known
    own = os.path.dirname(os.__file__)  # what comes after Python's own modules cannot take their place
    front = sys.path.index(own) if own in sys.path else len(sys.path)
    path = [entry for entry in sys.path[:front] if entry not in by_chance] + sys.path[front:]
    is_by_chance = PLACE in (os.path.normpath(os.path.join(here, entry)) for entry in sys.path[:front])
    if is_by_chance and PLACE not in path and not _is_found(path):
        path.append(PLACE)  # a checkout that is not installed, or not the one that is
        named.append(PLACE)
    return path, {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(named) or None}


def _is_found(path: list[str]) -> bool:
    """Return whether this very package is found without the folders that are left out."""
    old, sys.path = sys.path, path
    try:
        specs = (finder.find_spec("relusweep", None) for finder in sys.meta_path)
        found = next((spec for spec in specs if spec is not None), None)
    finally:
        sys.path = old
    return found is not None and PLACE in [os.path.dirname(os.path.dirname(found.origin or ""))]


def _export(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
