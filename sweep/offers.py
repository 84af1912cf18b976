"""Offers: the problems of installed packages, by the entry points of the group `relusweep.problems`.

    [project.entry-points."relusweep.problems"]
    ridge = "my_package.targets:ridge"                  # a target; `problem = "ridge"` trains on it
    "ridge.inputs" = "my_package.targets:annulus"       # its input law; without, one of the built-in ones

A module is found, and read as a file, without importing it or the packages that it is in.
"""

import difflib
from collections.abc import Collection, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from relusweep.sweep.dataset import DataError

GROUP = "relusweep.problems"
LAW = ".inputs"  # behind the name of a problem: its input law


def offered() -> dict[str, EntryPoint]:
    """Return what installed packages offer, by its name; of two with one name the first that is found."""
    found: dict[str, EntryPoint] = {}
    for each in entry_points(group=GROUP):
        found.setdefault(each.name, each)
    return found


def problems() -> list[str]:
    """Return the names of the problems among it."""
    return sorted(name for name in offered() if not name.endswith(LAW))


def as_python(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return the parameters of a run, in which `problem = "ridge"` has become its functions.

    Args:
        values: By name.
        names: What is offered.

    Raises:
        ValueError: if a target is given beside it.
    """
    problem = values.get("problem")
    if not isinstance(problem, str) or problem not in names:
        return dict(values)
    if values.get("target") is not None:
        raise ValueError(f"target = {values['target']!r}; problem {problem} has its own. Leave it out.")
    law = {"inputs": problem + LAW} if problem + LAW in names else {}
    return law | dict(values) | {"problem": "python", "target": problem}


def located(name: str) -> tuple[Path, str]:
    """Return the file that an offer is in, and its function's name.

    Raises:
        DataError: if there is no such offer, or it is no function of a module in a file.
    """
    known = offered()
    if name not in known:
        near = difflib.get_close_matches(name[:80], known, 1)
        there = f"Did you mean {near[0]!r}?" if near else f"Packages offer {', '.join(problems())[:200] or 'none'}."
        raise DataError(
            f"{name[:80]!r}: neither 'FILE.py:FUNCTION' nor what an installed package offers; expected one. {there}"
        )
    entry = known[name]
    if not (entry.attr or "").isidentifier():
        raise DataError(
            f"{name}: offered as {entry.value!r}; expected 'MODULE:FUNCTION'. Its package is to be changed."
        )
    try:
        found = _found(entry.module)
    except Exception as error:  # a finder of an editable installation may raise anything
        raise DataError(f"{name}: {entry.module} cannot be found ({error}); expected an installed module.") from None
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise DataError(f"{name}: {entry.module} is in no file NAME.py; expected an installed module of Python.")
    return Path(found.origin), entry.attr


def _found(module: str) -> ModuleSpec | None:
    """Find a module without importing the packages that it is in, which `find_spec` would."""
    first, *others = module.split(".")
    found = find_spec(first)
    for index in range(len(others)):
        if found is None:
            return None
        found = PathFinder.find_spec(".".join([first, *others[: index + 1]]), found.submodule_search_locations)
    return found
