"""Problems: where the training and test sets of a run come from.

A data set is a pure function of a run's parameters; its random numbers are keyed by (data_seed, purpose), never by
where the run stands in a sweep. To add a problem, write its function and add a row to `PROBLEMS` at the foot.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from relusweep.sweep import contents, own_data, own_target
from relusweep.sweep.dataset import (
    TARGET,
    TEST,
    TRAIN,
    TRAIN_NOISE,
    Array,
    DataError,
    Dataset,
    Parameters,
    inputs,
    stream,
)
from relusweep.sweep.images import SPLIT, digits, idx_content, idx_folder, mnist

PYRAMID_MASS = 0.3  # share of the default l1 ball that the pyramid's support fills, in every dimension


@dataclass(frozen=True)
class Problem:
    """What a problem is, the parameters that it reads with their defaults, and how its data are drawn.

    A default may be a function of the parameters known so far. `d` fixes the input dimension where data have one.
    """

    meaning: str
    draw: Callable[[Parameters], Dataset]
    defaults: Mapping[str, Any]
    d: int | None = None


def dataset(parameters: Parameters) -> Dataset:
    """Draw the data of a run.

    Args:
        parameters: A run's parameters, by name; those of `DATA_KEYS` matter.

    Returns:
        The training and test sets. Label noise touches the training set only.

    Raises:
        DataError: if files are missing or broken, or hold too few images.
    """
    try:
        content = parameters["content"]
        if parameters["problem"] == "mnist":
            content = idx_content(idx_folder(), parameters["split"])
            contents.refuse_other_images(idx_folder(), parameters["split"], content, parameters["content"])
        return _dataset(tuple(parameters[key] for key in DATA_KEYS), content)
    except MemoryError:
        sizes = ", ".join(f"{key} = {parameters[key]}" for key in ("n", "n_test", "d"))
        raise DataError(f"{parameters['problem']}: {sizes} do not fit in memory; expected smaller ones.") from None


@lru_cache(maxsize=16)
def _dataset(key: tuple[Any, ...], content: str | None) -> Dataset:
    """Draw a data set that is named by its parameters and, where it is of files, by what is in these."""
    parameters: Parameters = dict[str, Any](zip(DATA_KEYS, key, strict=True))
    data = PROBLEMS[parameters["problem"]].draw(parameters)
    noise = parameters["noise"] * stream(parameters, TRAIN_NOISE).standard_normal(data.y.shape)
    return Dataset(data.x, data.y + noise, data.x_test, data.y_test)


# Synthetic problems: inputs from a domain, targets from a function ---------------------------------------------------


def _synthetic(target: Callable[[Array, Parameters], Array]) -> Callable[[Parameters], Dataset]:
    def draw(p: Parameters) -> Dataset:
        train = inputs(p["domain"], p["radius"], p["d"], p["n"], stream(p, TRAIN))
        test = inputs(p["domain"], p["radius"], p["d"], p["n_test"], stream(p, TEST))
        return Dataset(train, target(train, p), test, target(test, p))

    return draw


def pyramid(x: Array, p: Parameters) -> Array:
    """Return [1 - ‖x‖₁]₊, realised by two hidden layers, of infinite variation norm for one (d ≥ 2)."""
    return np.maximum(1 - np.abs(x).sum(1), 0)


def sine(x: Array, p: Parameters) -> Array:
    """Return sin(frequency x₁) + ½ mean(x₂, …, x_d)."""
    return np.sin(p["frequency"] * x[:, 0]) + (x[:, 1:].mean(1) / 2 if x.shape[1] > 1 else 0)


def bump(x: Array, p: Parameters) -> Array:
    """Return the Gaussian bump exp(-‖x‖² / (2 bandwidth²))."""
    return np.exp(-(x**2).sum(1) / (2 * p["bandwidth"] ** 2))


def teacher(x: Array, p: Parameters) -> Array:
    """Return a shallow ReLU network drawn from data_seed: unit directions, offsets in the domain, mean output."""
    rng, k = stream(p, TARGET), p["teacher_width"]
    directions = rng.standard_normal((k, x.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    offsets = rng.uniform(-p["radius"], p["radius"], k)
    return np.maximum(x @ directions.T - offsets, 0) @ rng.choice([-1.0, 1.0], k) / np.sqrt(k)


def affine(x: Array, p: Parameters) -> Array:
    """Return v·x + c with a random unit vector v and c ~ N(0, 1), both from data_seed."""
    rng = stream(p, TARGET)
    v = rng.standard_normal(x.shape[1])
    return x @ (v / np.linalg.norm(v)) + rng.standard_normal()


def zero(x: Array, p: Parameters) -> Array:
    """Return zeros, so nothing to learn: what remains of the labels is their noise."""
    return np.zeros(len(x))


def _domain(name: str) -> dict[str, Any]:
    return {"d": 2, "n": 64, "n_test": 256, "domain": name, "radius": _radius}


def _radius(p: Parameters) -> float:
    """Return the default radius: the l1 ball that the pyramid fills to PYRAMID_MASS; 1 for every other domain."""
    return float(f"{PYRAMID_MASS ** (-1 / p['d']):.6g}") if p["domain"] == "l1_ball" else 1.0


_IMAGES = {"n_test": 160, "classes": "0,1"}

PROBLEMS: Mapping[str, Problem] = {
    "digits": Problem("8×8 digits of scikit-learn, two classes, labels ±1", digits, _IMAGES | {"n": 128}, d=64),
    "mnist": Problem(
        "MNIST images, two classes, labels ±1",
        mnist,
        _IMAGES | {"n": 512, "n_test": 1000, "split": SPLIT, "content": None},
        d=784,
    ),
    "pyramid": Problem("[1 - ‖x‖₁]₊", _synthetic(pyramid), _domain("l1_ball")),
    "sine": Problem("sin(frequency x₁) + ½ mean of the others", _synthetic(sine), _domain("cube") | {"frequency": 2.0}),
    "bump": Problem("exp(-‖x‖² / (2 bandwidth²))", _synthetic(bump), _domain("cube") | {"bandwidth": 0.5}),
    "teacher": Problem("random shallow ReLU network", _synthetic(teacher), _domain("ball") | {"teacher_width": 4}),
    "affine": Problem("random affine function", _synthetic(affine), _domain("ball")),
    "noise": Problem("zero: labels are pure noise", _synthetic(zero), _domain("ball") | {"noise": 1.0}),
    "file": Problem("your own data, from a .npz, .csv or .parquet file", own_data.draw, own_data.DEFAULTS),
    "python": Problem("your own function, in a file of Python", own_target.draw, own_target.DEFAULTS),
}

# Parameters that some problems read and others ignore; giving one to a problem that ignores it is an error.
PROBLEM_KEYS = (
    "domain", "radius", "frequency", "bandwidth", "teacher_width", "classes", "split",
    "file", "x_columns", "y_column", "standardize", "content",
    "target", "target_source", "target_arguments", "inputs", "inputs_source",
)  # fmt: skip
DATA_KEYS = ("problem", "d", "n", "n_test", "data_seed", "noise", *PROBLEM_KEYS)
