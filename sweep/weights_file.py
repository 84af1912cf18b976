"""Weights file: where training starts with `init = "file"`: the weights of one network, from a .npz.

Of each layer w1 (units, d), b1 (units,), w2 …, and of the output the last w (units,) and b (): what `relusweep export`
writes of a run is such a file. Biases may be left out, of all layers or of the output.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relusweep.sweep.array_file import read_arrays, reading
from relusweep.sweep.dataset import Array, DataError, Parameters
from relusweep.sweep.shelf import Shelf

_LAYER = re.compile("[wb][0-9]+")
NAMES = ("w1", "b1", "w2", "b2", "w3", "b3")
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Weights:
    """The arrays of one network by their names, float64."""

    arrays: Mapping[str, Array]

    @property
    def settings(self) -> dict[str, Any]:
        """Return the parameters of runs that can start here."""
        units, d = self.arrays["w1"].shape
        last = "b3" if "w3" in self.arrays else "b2"
        found = {"d": d, "depth": 1, "width": units, "width2": None}
        if "w3" in self.arrays:
            found |= {"depth": 2, "width2": len(self.arrays["w2"])}
        return found | {"bias": "hidden" if "b1" in self.arrays and last not in self.arrays else "b1" in self.arrays}

    def rows(self) -> list[Array]:
        """Return the rows [w_i, b_i] of each layer (units, inputs + bias)."""
        layers = []
        for index in range(1, 1 + sum(name.startswith("w") for name in self.arrays)):
            w = self.arrays[f"w{index}"]
            w = w[None] if w.ndim == 1 else w
            b = self.arrays.get(f"b{index}")
            layers.append(w if b is None else np.column_stack([w, b.reshape(-1)]))
        return layers


def read(path: Path) -> Weights:
    """Read the weights of a network.

    Raises:
        DataError: if they are no finite numbers, or do not fit together.
    """
    if path.suffix.lower() != ".npz":
        raise DataError(f"{path}: unknown kind of file; expected a name that ends in .npz, with arrays w1, b1, w2, ….")

    def check(shapes: Shapes, others: list[str]) -> None:
        deeper = [name for name in sorted(others) if _LAYER.fullmatch(name) and name not in NAMES]
        if why := f"array {deeper[0]!r}, of a third hidden layer" if deeper else _fault(shapes):
            there = ", ".join(f"{name} {shapes[name]}" for name in sorted(shapes)) or ", ".join(map(repr, others[:9]))
            raise DataError(f"{path}: {why}, got {there or 'none'}; expected what relusweep export writes.")

    with reading(path, "weights"):
        found = read_arrays(path, NAMES, check)
        last = "3" if "w3" in found else "2"
        for name in set(found) & {f"w{last}", f"b{last}"}:  # as torch has them, with an axis for the one output
            found[name] = found[name].reshape(() if name[0] == "b" else -1)
        return Weights({name: found[name] for name in NAMES if name in found})


def _fault(shapes: Shapes) -> str | None:
    """Return why arrays of these shapes are not the weights of a network; None if they are."""
    for name in ("w1", "w2"):
        if name not in shapes:
            return f"no array {name!r}"
    last = 3 if "w3" in shapes else 2
    if len(shapes["w1"]) != 2 or not all(shapes["w1"]):
        return "w1 is not (units, d)"
    units = shapes["w1"][0]
    if last == 3:
        if len(shapes["w2"]) != 2 or shapes["w2"][1] != units or not shapes["w2"][0]:
            return f"w2 is not (units, {units})"
        if shapes.get("b2", shapes["w2"][:1]) != shapes["w2"][:1]:
            return f"b2 is not {shapes['w2'][:1]}"
        units = shapes["w2"][0]
    if shapes.get("b1", shapes["w1"][:1]) != shapes["w1"][:1]:
        return f"b1 is not {shapes['w1'][:1]}"
    if shapes[f"w{last}"] not in ((units,), (1, units)):
        return f"w{last} is not ({units},)"
    if shapes.get(f"b{last}", ()) not in ((), (1,)):
        return f"b{last} is not one number"
    biases = [f"b{index}" in shapes for index in range(1, last + 1)]
    if (any(biases[1:]) and not biases[0]) or len(set(biases[:-1])) > 1 or f"b{last + 1}" in shapes:
        return "biases on one layer and not on the others"
    return None


def _content_of(weights: Weights) -> str:
    """Return the hash of names, shapes and numbers of all arrays."""
    digest = hashlib.blake2b(b"relusweep weights 1", digest_size=16)
    for name, array in weights.arrays.items():
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, "<f8"))
    return digest.hexdigest()


def _write(weights: Weights, path: Path) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, **weights.arrays)


WEIGHTS = Shelf("weights", ".weights.npz", _content_of, read, _write)


# The parameters of a run ---------------------------------------------------------------------------------------------


def settings_of(p: Parameters) -> Mapping[str, Any]:
    """Return the parameters of a network that starts at the weights of a run's file; nothing if they are not known."""
    weights = WEIGHTS.known(p["init_content"]) if p["init"] == "file" and p["init_content"] else None
    return weights.settings if weights else {}


def mismatch(p: Parameters) -> str | None:
    """Return what in the parameters of a run does not fit to the weights that it starts with; None if all does."""
    if p["init"] != "file":
        return None
    if not p["init_content"]:
        return "init = 'file'; it needs init_file, the name of your weights, as in init_file = \"start.npz\"."
    own = dict(p) | {"bias": "hidden" if p["output_bias"] is False else p["bias"]}
    for key, value in settings_of(p).items():
        if own[key] != value:
            return f"{key} = {own[key]!r}; {p['init_file']} has {key} = {value!r}. Leave {key} out."
    return None


def initial(p: Parameters) -> list[Array]:
    """Return the rows [w_i, b_i] of each layer that a run starts with.

    Raises:
        DataError: if they are nowhere, or of another network.
    """
    weights = WEIGHTS.find(p["init_content"], p["init_file"])
    if why := mismatch(p):
        raise DataError(why)
    return weights.rows()
