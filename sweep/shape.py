"""Shape: what of a run sets its tensors, its program and the number of its steps; runs of equal shape share a pack."""

import itertools
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from relusweep.sweep.run import Run

Shape = tuple[Any, ...]

# What has to be equal in a pack: everything that sets a tensor's shape, the program or the number of steps.
SHAPE_KEYS = (
    "d", "n", "n_test", "depth", "width", "width2", "bias", "output_bias", "activation", "optimizer", "batch_size",
    "sampling", "label_noise", "max_steps", "dtype",
)  # fmt: skip
_shape = attrgetter(*SHAPE_KEYS)  # asked of every run of a sweep: a loop over the keys takes twice as long

# What an optimizer remembers, in copies of the parameters.
BUFFERS: Mapping[str, int] = {"gd": 0, "sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2}


def shape_key(run: Run) -> Shape:
    """Return the values of `SHAPE_KEYS`: runs with equal keys fit in one pack."""
    return _shape(run)


def layer_sizes(run: Run) -> tuple[int, ...]:
    """Return (d, width[, width2], 1)."""
    return (run.d, run.width, *([run.width2] if run.width2 else []), 1)


def array_shapes(run: Run) -> dict[str, tuple[int, ...]]:
    """Return the shapes of weights and biases by their names; also of biases that the network does not have."""
    sizes = layer_sizes(run)[:-1]
    shapes: dict[str, tuple[int, ...]] = {}
    for index, (inputs, units) in enumerate(itertools.pairwise(sizes), 1):
        shapes |= {f"w{index}": (units, inputs), f"b{index}": (units,)}
    return shapes | {f"w{len(sizes)}": (sizes[-1],), f"b{len(sizes)}": ()}


def hidden_units(run: Run) -> int:
    """Count the units of all hidden layers."""
    return sum(layer_sizes(run)[1:-1])


def has_output_bias(run: Run) -> bool:
    """Return whether the output unit has a trained bias."""
    return run.bias and run.output_bias is None


def parameter_count(run: Run) -> int:
    """Count the trained numbers of one network."""
    weights = sum((inputs + run.bias) * outputs for inputs, outputs in itertools.pairwise(layer_sizes(run)))
    return weights - (run.bias and not has_output_bias(run))


def number_bytes(run: Run) -> int:
    """Return the bytes of one number of the training."""
    return 8 if run.dtype == "float64" else 4


def buffer_count(run: Run) -> int:
    """Return how many numbers the run's optimizer remembers of each parameter.

    Raises:
        ValueError: if nothing is known of this optimizer.
    """
    if run.optimizer not in BUFFERS:
        known = ", ".join(BUFFERS)
        raise ValueError(f"optimizer = {run.optimizer!r}: its memory is unknown; expected one of {known}")
    return BUFFERS[run.optimizer]


def work(shape: Shape) -> float:
    """Return the multiply-adds of a training, but for a factor."""
    run = dict(zip(SHAPE_KEYS, shape, strict=True))
    step = (run["batch_size"] or run["n"]) * (run["width"] * (run["d"] + 1) + (run["width2"] or 0) * run["width"])
    return float(step * run["max_steps"])
