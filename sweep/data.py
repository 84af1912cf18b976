"""Problems: where the training and test sets of a run come from.

A data set is a pure function of a run's parameters; its random numbers are keyed by (data_seed, purpose), never by
where the run stands in a sweep. To add a problem, write its function and add a row to `PROBLEMS` at the foot.
"""

import gzip
import io
import math
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.store.small_file import content_of

Array = NDArray[np.float64]
Parameters = Mapping[str, Any]

TRAIN, TEST, TARGET, TRAIN_NOISE = 1, 2, 3, 4  # purposes: one independent random stream each
_MOST_BYTES = 2**28  # of a file of images, packed or not; MNIST has 2**25.5
PYRAMID_MASS = 0.3  # share of the default l1 ball that the pyramid's support fills, in every dimension


class DataError(RelusweepError):
    """A data set cannot be had: the message says which, why, and what would help."""


@dataclass(frozen=True)
class Dataset:
    """Inputs and targets, float64: x (n, d), y (n,), x_test (n_test, d), y_test (n_test,)."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


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
        return _dataset(tuple(parameters[key] for key in DATA_KEYS))
    except MemoryError:
        sizes = ", ".join(f"{key} = {parameters[key]}" for key in ("n", "n_test", "d"))
        raise DataError(f"{parameters['problem']}: {sizes} do not fit in memory; expected smaller ones.") from None


@lru_cache(maxsize=16)
def _dataset(key: tuple[Any, ...]) -> Dataset:
    parameters: Parameters = dict[str, Any](zip(DATA_KEYS, key, strict=True))
    data = PROBLEMS[parameters["problem"]].draw(parameters)
    noise = parameters["noise"] * _rng(parameters, TRAIN_NOISE).standard_normal(data.y.shape)
    return Dataset(data.x, data.y + noise, data.x_test, data.y_test)


def _rng(p: Parameters, purpose: int) -> np.random.Generator:
    return np.random.default_rng([p["data_seed"], purpose])


# Synthetic problems: inputs from a domain, targets from a function ---------------------------------------------------


def inputs(domain: str, radius: float, d: int, count: int, rng: np.random.Generator) -> Array:
    """Draw `count` points (count, d): uniform in a cube, l2 ball or l1 ball of the radius, or N(0, radius² I)."""
    if domain == "cube":
        return rng.uniform(-radius, radius, (count, d))
    if domain == "l1_ball":  # the first d of d+1 exponential spacings are uniform in the simplex; signs reflect it
        spacings = rng.standard_exponential((count, d + 1))
        signs = rng.choice([-1.0, 1.0], (count, d))
        return radius * signs * spacings[:, :d] / spacings.sum(1, keepdims=True)
    points = rng.standard_normal((count, d))
    if domain == "gaussian":
        return radius * points
    lengths = rng.uniform(size=(count, 1)) ** (1 / d)
    return radius * lengths * points / np.linalg.norm(points, axis=1, keepdims=True)


def _synthetic(target: Callable[[Array, Parameters], Array]) -> Callable[[Parameters], Dataset]:
    def draw(p: Parameters) -> Dataset:
        train = inputs(p["domain"], p["radius"], p["d"], p["n"], _rng(p, TRAIN))
        test = inputs(p["domain"], p["radius"], p["d"], p["n_test"], _rng(p, TEST))
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
    rng, k = _rng(p, TARGET), p["teacher_width"]
    directions = rng.standard_normal((k, x.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    offsets = rng.uniform(-p["radius"], p["radius"], k)
    return np.maximum(x @ directions.T - offsets, 0) @ rng.choice([-1.0, 1.0], k) / np.sqrt(k)


def affine(x: Array, p: Parameters) -> Array:
    """Return v·x + c with a random unit vector v and c ~ N(0, 1), both from data_seed."""
    rng = _rng(p, TARGET)
    v = rng.standard_normal(x.shape[1])
    return x @ (v / np.linalg.norm(v)) + rng.standard_normal()


def zero(x: Array, p: Parameters) -> Array:
    """Return zeros, so nothing to learn: what remains of the labels is their noise."""
    return np.zeros(len(x))


# Images: two classes, labels ±1 --------------------------------------------------------------------------------------


def _two_classes(images: NDArray[Any], white: int, labels: NDArray[Any], p: Parameters, origin: str) -> Dataset:
    """Choose n + n_test images, half of each class, at random by data_seed; the first class is -1, the second +1.

    Pixels are divided by `white`, so that they lie in [0, 1].
    """
    rng, (low, high) = _rng(p, TRAIN), (int(c) for c in p["classes"].split(","))
    train, test = [], []
    for label, sign in ((low, -1), (high, 1)):
        # an odd count gives the extra image to the second class
        n, n_test = ((p[key] + (sign > 0)) // 2 for key in ("n", "n_test"))
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) < n + n_test:
            raise DataError(
                f"{origin}: class {label} has {len(rows)} images, got n = {p['n']} and n_test = {p['n_test']}; "
                f"expected at most {len(rows)} of each class. Lower n or n_test."
            )
        train += [(row, sign) for row in rows[:n]]
        test += [(row, sign) for row in rows[n : n + n_test]]
    (rows, y), (rows_test, y_test) = (np.array(pairs, int).reshape(-1, 2).T for pairs in (train, test))
    return Dataset(images[rows] / white, y.astype(float), images[rows_test] / white, y_test.astype(float))


def digits(p: Parameters) -> Dataset:
    """Load scikit-learn's 1,797 real handwritten digits, 8×8 pixels scaled to [0, 1]."""
    images, labels = _bundled_digits()
    return _two_classes(images, 16, labels, p, "digits")


@cache
def _bundled_digits() -> tuple[Array, NDArray[Any]]:
    from sklearn.datasets import load_digits  # slow to import, and wanted by one problem only

    images, labels = load_digits(return_X_y=True)
    return np.asarray(images), np.asarray(labels)


def mnist(p: Parameters) -> Dataset:
    """Load MNIST images from IDX files in the folder RELUSWEEP_DATA (or --data), pixels scaled to [0, 1]."""
    folder = Path(os.environ.get("RELUSWEEP_DATA", "data/mnist"))
    images = _read_idx(folder, f"{p['split']}-images-idx3-ubyte", dimensions=3)
    labels = _read_idx(folder, f"{p['split']}-labels-idx1-ubyte", dimensions=1)
    if len(images) != len(labels):
        raise DataError(
            f"{folder}: the {p['split']} files do not belong together, got {len(images)} images and "
            f"{len(labels)} labels; expected one label an image. Fetch both files again."
        )
    if images.shape[1:] != (28, 28):
        raise DataError(
            f"{folder}: images of {images.shape[1]} × {images.shape[2]} pixels, expected 28 × 28. "
            "Fetch the MNIST files again."
        )
    return _two_classes(images.reshape(len(images), 784), 255, labels, p, str(folder))


@cache
def _read_idx(folder: Path, name: str, dimensions: int) -> NDArray[Any]:
    """Read an IDX file of bytes, gzip-compressed or not."""
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if not found:
        raise DataError(
            f"{folder}: no file {name} or {name}.gz; expected MNIST in IDX format. "
            "Name its folder with --data DIR or RELUSWEEP_DATA=DIR."
        )
    try:
        raw = content_of(found[0], _MOST_BYTES)
        if raw.startswith(b"\x1f\x8b"):  # whatever its name says
            raw = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{found[0]}: cannot be read ({error}); expected an IDX file. Fetch it again.") from None
    if len(raw) > _MOST_BYTES:
        raise DataError(f"{found[0]}: more than {_MOST_BYTES // 2**20} MiB; expected an IDX file. Fetch it again.")
    header = 4 + 4 * dimensions
    if len(raw) < header or raw[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{found[0]}: not an IDX file of bytes with {dimensions} dimension(s). Fetch it again.")
    shape = struct.unpack(f">{dimensions}I", raw[4:header])
    values = np.frombuffer(raw, np.uint8, offset=header)
    if values.size != math.prod(shape):
        raise DataError(f"{found[0]}: cut short, got {values.size} bytes; expected {math.prod(shape)}. Fetch it again.")
    return values.reshape(shape) if values.size else np.zeros((0,) * dimensions, np.uint8)


def _domain(name: str) -> dict[str, Any]:
    return {"d": 2, "n": 64, "n_test": 256, "domain": name, "radius": _radius}


def _radius(p: Parameters) -> float:
    """Return the default radius: the l1 ball that the pyramid fills to PYRAMID_MASS; 1 for every other domain."""
    return float(f"{PYRAMID_MASS ** (-1 / p['d']):.6g}") if p["domain"] == "l1_ball" else 1.0


_IMAGES = {"n_test": 160, "classes": "0,1"}

PROBLEMS: Mapping[str, Problem] = {
    "digits": Problem("8×8 digits of scikit-learn, two classes, labels ±1", digits, _IMAGES | {"n": 128}, d=64),
    "mnist": Problem(
        "MNIST images, two classes, labels ±1", mnist, _IMAGES | {"n": 512, "n_test": 1000, "split": "train"}, d=784
    ),
    "pyramid": Problem("[1 - ‖x‖₁]₊", _synthetic(pyramid), _domain("l1_ball")),
    "sine": Problem("sin(frequency x₁) + ½ mean of the others", _synthetic(sine), _domain("cube") | {"frequency": 2.0}),
    "bump": Problem("exp(-‖x‖² / (2 bandwidth²))", _synthetic(bump), _domain("cube") | {"bandwidth": 0.5}),
    "teacher": Problem("random shallow ReLU network", _synthetic(teacher), _domain("ball") | {"teacher_width": 4}),
    "affine": Problem("random affine function", _synthetic(affine), _domain("ball")),
    "noise": Problem("zero: labels are pure noise", _synthetic(zero), _domain("ball") | {"noise": 1.0}),
}

# Parameters that some problems read and others ignore; giving one to a problem that ignores it is an error.
PROBLEM_KEYS = ("domain", "radius", "frequency", "bandwidth", "teacher_width", "classes", "split")
DATA_KEYS = ("problem", "d", "n", "n_test", "data_seed", "noise", *PROBLEM_KEYS)
