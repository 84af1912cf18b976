"""Extra: measures beyond those of every row, which `[measure] extra` asks for: their names, and their columns.

`sweep.extra_measures` computes them. Loads no torch.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from relusweep.sweep.record import SCHEMAS

MOST_EIGENVALUES = 64
MOST_COLUMNS = 100  # of a user's measure


class BuiltIn(NamedTuple):
    """A measure of ours: its columns, numbers but for the list `spectrum`, and what they are."""

    columns: tuple[str, ...]
    meaning: str


BUILT_IN: Mapping[str, BuiltIn] = {
    "trace": BuiltIn(("trace",), "trace of the exact Hessian of the loss, which is that of Gauss–Newton too"),
    "spectrum": BuiltIn(
        ("spectrum",),
        "all eigenvalues of the exact Hessian, from the largest on; of at most 512 parameters",
    ),
    "least_eigenvalue": BuiltIn(("least_eigenvalue",), "least eigenvalue of the exact Hessian; null where not proved"),
    "activation_rate": BuiltIn(
        ("activation_rate_mean", "activation_rate_max", "rarely_active_fraction"),
        "over the units, the share of training inputs on which each is active: mean and maximum; and the share of "
        "units that are active on a tenth of the inputs at most",
    ),
    "parameter_l1": BuiltIn(("parameter_l1",), "Σ |θ_i|, biases included"),
    "distance": BuiltIn(
        ("distance_1", "distance_2", "distance_3"), "‖θ - θ at the start‖₂ layer by layer, biases included"
    ),
    "residual_margin": BuiltIn(("residual_margin",), "largest less second largest |r_j| over the training set"),
}
SPECTRUM = "K largest eigenvalues of the exact Hessian, from the largest on; null where not proved"
_SPECTRUM = re.compile("spectrum:([1-9][0-9]?)")
_OWN = re.compile(r".+\.py:([A-Za-z][A-Za-z0-9_]*)")
# What tables of a report call columns of their own, beside those of every row.
_OF_REPORTS = ("store", "arm", "baseline", "bound", "cluster", "group", "limit", "measure", "pairs", "runs", "value")


def is_own(name: str) -> bool:
    """Return whether a measure is a function of the user's."""
    return _OWN.fullmatch(name) is not None


def function_of(name: str) -> str:
    """Return what a measure of the user's is called, which its columns are called after."""
    return name.rpartition(":")[2]


def eigenvalues(name: str) -> int:
    """Return how many of the largest eigenvalues a measure asks for; 0 if it is another one."""
    found = _SPECTRUM.fullmatch(name)
    return int(found[1]) if found and int(found[1]) <= MOST_EIGENVALUES else 0


def columns(name: str) -> tuple[str, ...]:
    """Return the columns of a measure; of one of the user's the first: it says itself how many there are."""
    if count := eigenvalues(name):
        return tuple(f"spectrum_{k}" for k in range(1, count + 1))
    return (function_of(name),) if is_own(name) else BUILT_IN[name].columns


def columns_of(name: str, there: Iterable[str]) -> list[str]:
    """Return which of some columns are of a measure; one of the user's may have any number of them."""
    if not is_own(name):
        return [each for each in there if each in columns(name)]
    own = re.compile(rf"{function_of(name)}(_[1-9][0-9]*)?")
    return [each for each in there if own.fullmatch(each)]


def validated(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of measures.

    Raises:
        ValueError: for one that is unknown, or two that have a column in common, or one that has a row's.
    """
    owners = dict.fromkeys([*SCHEMAS["runs"].names, *SCHEMAS["trajectories"].names], "every row")
    owners |= dict.fromkeys(_OF_REPORTS, "every report")
    ours = {*BUILT_IN, *(column for each in BUILT_IN.values() for column in each.columns)}
    for name in names:
        if not (name in BUILT_IN or eigenvalues(name) or is_own(name)):
            near = difflib.get_close_matches(name[:80], BUILT_IN, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            known = ", ".join([*BUILT_IN, f"spectrum:K with K from 1 to {MOST_EIGENVALUES}"])
            raise ValueError(f"= {name[:80]!r}; expected one of {known}, or 'FILE.py:FUNCTION'.{hint}")
        if is_own(name) and (function_of(name) in ours or function_of(name).startswith("spectrum")):
            raise ValueError(f"= {name[:80]!r}; {function_of(name)} is a measure of relusweep's. Rename the function.")
        for column in columns(name):
            if owner := owners.get(column):
                raise ValueError(f"= {name[:80]!r}; its column {column} is one of {owner} too. Rename or remove one.")
            owners[column] = repr(name[:80])
    return names
