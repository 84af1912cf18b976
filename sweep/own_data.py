"""Own data: the training and test sets of `problem = "file"`, drawn from the points of a data file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from relusweep.sweep import data_file
from relusweep.sweep.contents import POINTS
from relusweep.sweep.dataset import TRAIN, DataError, Dataset, Parameters, stream


def draw(p: Parameters) -> Dataset:
    """Take n points of a file, and n_test others.

    All n in the order of the file where it has no more; else a subset by `data_seed`, in that order too. Test points
    are the file's own, n_test of them; where it has none, they are points that are not trained on.

    Raises:
        DataError: if it has fewer, another dimension, or is nowhere.
    """
    whole = POINTS.find(p["content"], p["file"])
    if p["d"] != whole.x.shape[1]:
        raise DataError(f"{p['file']}: has d = {whole.x.shape[1]}, got d = {p['d']}. Leave d out.")
    rng, rows = stream(p, TRAIN), len(whole.x)
    order = rng.permutation(rows)
    own_test = len(whole.x_test) > 0
    others = rng.permutation(len(whole.x_test)) if own_test else order[p["n"] :]
    if p["n"] > rows:
        raise DataError(f"{p['file']}: has {rows} points, got n = {p['n']}; expected at most {rows}. Lower n.")
    if p["n_test"] > len(others):
        left = "has" if own_test else f"beside n = {p['n']} it has"
        raise DataError(
            f"{p['file']}: {left} {len(others)} points to test on, got n_test = {p['n_test']}. Lower n_test"
            f"{'' if own_test else ' or n'}."
        )
    chosen, test = np.sort(order[: p["n"]]), np.sort(others[: p["n_test"]])
    x_test, y_test = (whole.x_test, whole.y_test) if own_test else (whole.x, whole.y)
    data = Dataset(whole.x[chosen], whole.y[chosen], x_test[test], y_test[test])
    return standardized(data, p["file"]) if p["standardize"] else data


def standardized(data: Dataset, name: str) -> Dataset:
    """Shift and scale every feature so that it has mean 0 and variance 1 over the training set; targets stay.

    A feature that is constant there is only shifted.

    Raises:
        DataError: if numbers are so large that their variance is none.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = data.x.mean(0), data.x.std(0)
        constant = (data.x == data.x[0]).all(0)  # of which the mean may differ in the last digit
        mean[constant], scale[constant] = data.x[0, constant], 1
        scaled = Dataset((data.x - mean) / scale, data.y, (data.x_test - mean) / scale, data.y_test)
    if not all(np.isfinite(each).all() for each in (scale, scaled.x, scaled.x_test)):
        raise DataError(f"{name}: features too large to be standardized; expected less than 1e150. Scale them.")
    return scaled


def columns_text(value: Any) -> Any:
    """Return names of columns as one text, with commas between; what is no list of them stays as it is."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return value
    if not value:
        raise ValueError("= []; expected names of columns. Leave it out for all but the target.")
    for name in value:
        if "," in name:
            raise ValueError(f"= {name!r}; expected no comma in the name of a column. Rename it.")
    return ",".join(value)


def _file(p: Parameters) -> str:
    raise ValueError('file is missing; expected the name of your data, as in file = "points.npz".')


def _content(p: Parameters) -> str:
    """Return the content of a file that is relative to the current folder; of one in a spec, the spec says it."""
    file, x_columns, y_column = p["file"], columns_text(p["x_columns"]), p["y_column"]
    for key, value in {"file": file, "x_columns": x_columns, "y_column": y_column}.items():
        if not isinstance(value, str | None) or (key == "file" and not value):
            raise ValueError(f"{key} = {value!r}; expected a text.")
    return POINTS.remember(data_file.read(Path(file), x_columns, y_column))


def _size(of: Callable[[Dataset], int]) -> Callable[[Parameters], int]:
    return lambda p: of(POINTS.find(p["content"], p["file"]))


DEFAULTS: Mapping[str, Any] = {
    "file": _file,
    "x_columns": None,
    "y_column": None,
    "standardize": False,
    "content": _content,
    "d": _size(lambda data: data.x.shape[1]),
    "n": _size(lambda data: len(data.x)),
    "n_test": _size(lambda data: len(data.x_test)),
}
