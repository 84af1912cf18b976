"""Own target: the training and test sets of `problem = "python"`, from functions that a user wrote."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from relusweep.sweep import own_code
from relusweep.sweep.arguments import parsed
from relusweep.sweep.dataset import TEST, TRAIN, Array, DataError, Dataset, Parameters, inputs, stream
from relusweep.sweep.own_module import Function, called, functions

_REAL = "biuf"  # kinds of numpy's types


def draw(p: Parameters) -> Dataset:
    """Draw inputs from a law, the user's or a built-in one, and call the user's function for their targets.

    Everything is called a second time, in another module made of the same code and in another order: first the test
    points, then the training points. So a function whose values depend on what was called before it, on chance or on
    the time is seen, and refused.

    Raises:
        TrustError: if this process may not run the code.
        DataError: if it raises, returns other shapes or numbers that are not finite, or not the same ones twice.
    """
    x, x_test = _inputs(p)
    target, again = functions(p["target_source"], p["target"])
    y, y_test = (_targets(target, each, p) for each in (x, x_test))
    if not len(x_test):
        _targets(again, x, p)  # likewise
    for points, first in ((x_test, y_test), (x, y)):
        _refuse_others(first, _targets(again, points, p), p["target"], "points")
    return Dataset(x, y, x_test, y_test)


def _inputs(p: Parameters) -> tuple[Array, Array]:
    """Return x (n, d) and x_test (n_test, d)."""
    d, sizes = p["d"], {TRAIN: p["n"], TEST: p["n_test"]}
    if p["inputs"] is None:
        x, x_test = (inputs(p["domain"], p["radius"], d, count, stream(p, of)) for of, count in sizes.items())
        return x, x_test
    law, again = functions(p["inputs_source"], p["inputs"])
    first = {of: _points(law, p, of, count) for of, count in sizes.items()}
    if not p["n_test"]:
        _points(again, p, TRAIN, p["n"])  # a call that it may remember
    for of, count in reversed(sizes.items()):
        _refuse_others(first[of], _points(again, p, of, count), p["inputs"], "rng, n and d")
    return first[TRAIN], first[TEST]


def _points(law: Function, p: Parameters, of: int, count: int) -> Array:
    if not count:
        return np.zeros((0, p["d"]))
    given = called(law, p["inputs"], stream(p, of), count, p["d"])
    return _numbers(given, (count, p["d"]), p["inputs"], f"n = {count} and d = {p['d']}")


def _targets(target: Function, x: Array, p: Parameters) -> Array:
    if not len(x):
        return np.zeros(0)
    given = called(target, p["target"], x.copy(), **parsed(p["target_arguments"]))  # which it may change
    return _numbers(given, (len(x),), p["target"], f"x of shape {x.shape}")


def _numbers(given: Any, shape: tuple[int, ...], name: str, of: str) -> Array:
    """Return what a function gave as float64, in an array of its own.

    Raises:
        DataError: if it is something else.
    """
    if inspect.iscoroutine(given):
        given.close()  # else Python warns that nothing awaited it
    try:
        array = np.asarray(given)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException:  # numpy asks the object, which may raise anything
        array = np.array(None)
    if array.dtype.kind not in _REAL:
        kind = type(given).__name__ + (f" of {array.dtype}" if isinstance(given, np.ndarray) else "")
        raise DataError(f"{name}: returned {kind} for {of}; expected real numbers, an array of shape {shape}.")
    if array.shape != shape:
        cure = " Return y[:, 0]." if array.shape == (*shape, 1) else ""
        raise DataError(f"{name}: returned shape {array.shape} for {of}; expected {shape}.{cure}")
    numbers = np.array(array, np.float64, order="C")
    if not np.isfinite(numbers).all():
        row = int(np.argwhere(~np.isfinite(numbers))[0, 0])
        value = numbers[row] if numbers.ndim == 1 else numbers[row][~np.isfinite(numbers[row])][0]
        raise DataError(f"{name}: returned {value} in row {row} for {of}; expected finite numbers.")
    return numbers


def _refuse_others(first: Array, second: Array, name: str, same: str) -> None:
    if first.tobytes() != second.tobytes():
        raise DataError(
            f"{name}: gave other values when it was called again with the same {same}; expected the same ones, bit for "
            "bit, whatever was called before. Draw random numbers inside it, from a generator with a seed"
            f"{' or rng' if same != 'points' else ''}."
        )


# The parameters of a run ---------------------------------------------------------------------------------------------


def mismatch(p: Mapping[str, Any]) -> str | None:
    """Return what in the parameters of a run on a user's functions does not fit together; None if all does."""
    if p["problem"] != "python":
        return None
    for key in ("target", "inputs"):
        if (p[key] is None) != (p[f"{key}_source"] is None) or (key == "target" and p[key] is None):
            return (
                f"{key} = {p[key]!r} with {key}_source = {p[f'{key}_source']!r}; expected both. Leave the latter out."
            )
    for key in ("domain", "radius"):
        if p["inputs"] is not None and p[key] is not None:
            return f"{key} = {p[key]!r}; inputs draws the points. Leave {key} out."
        if p["inputs"] is None and p[key] is None:
            return f"{key} is null; without inputs, points are drawn from a domain. Leave it out."
    return None


def _target(p: Parameters) -> str:
    raise ValueError('target is missing; expected your function, as in target = "my_targets.py:ridge".')


def _source(key: str) -> Callable[[Parameters], str | None]:
    """Return the default of a source: of a file relative to the current folder; of one in a spec, the spec says it."""

    def default(p: Parameters) -> str | None:
        name = p[key]
        if name is None:
            return None
        if not isinstance(name, str) or not name:
            raise ValueError(f"{key} = {name!r}; expected a text.")
        return own_code.source_of(name, Path())

    return default


DEFAULTS: Mapping[str, Any] = {
    "d": 2,
    "n": 64,
    "n_test": 256,
    "target": _target,
    "target_source": _source("target"),
    "target_arguments": None,
    "inputs": None,
    "inputs_source": _source("inputs"),
    "domain": lambda p: "cube" if p["inputs"] is None else None,
    "radius": lambda p: 1.0 if p["inputs"] is None else None,
}
