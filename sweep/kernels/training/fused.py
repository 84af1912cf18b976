"""The fused kernel: a program of its own for each shape of network, in which a run stays in the core's cache.

One pass over the samples makes outputs and gradients, and every size is a constant to the compiler. The programs are
written from the templates in `source/` and compiled by numba. A run is computed alone and always in the same order, so
that its numbers do not depend on the others of its pack.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from jinja2 import Environment, PackageLoader, StrictUndefined
from torch import Tensor

from relusweep.sweep.kernels.jit.program import program
from relusweep.sweep.kernels.training import loop
from relusweep.sweep.kernels.training.kernel import Tile
from relusweep.sweep.model import Architecture
from relusweep.sweep.run import Run
from relusweep.sweep.shape import hidden_units

NAME = "fused"
OPTIMIZERS = frozenset({"gd", "sgd", "momentum", "nesterov"})  # all of them momenta, some of which remember nothing
# Products are unrolled; with more inputs, or more weights between two layers, BLAS is faster (bench/README.md).
_MAX_INPUTS = 16
_MAX_WEIGHTS = 512
_MAX_UNITS = 64  # of each of two layers: the compiler's time grows with them
_BLOCK = 128  # samples at a time, if they are the contiguous axis
_PAIRS = 2**23  # of units and samples, over the runs of a tile: a fraction of a second for a window


def supports(run: Run, device: torch.device) -> bool:
    """Return whether this kernel trains runs of this shape on the device."""
    small = run.d <= _MAX_INPUTS
    if run.width2 is not None:
        small &= max(run.width, run.width2) <= _MAX_UNITS and run.width * run.width2 <= _MAX_WEIGHTS
    return small and device.type == "cpu" and run.optimizer in OPTIMIZERS and not run.label_noise


def tile_size(run: Run, device: torch.device) -> int:
    """Return how many runs to advance between two heartbeats: they do not share the cache."""
    return max(1, min(256, _PAIRS // (hidden_units(run) * run.n)))


def advance(tile: Tile, start: int, stop: int, varying_until: int) -> None:
    """Take the steps start … stop-1 in place."""
    run, rates = tile.run, tile.rates
    advance_all, places = _program(
        Architecture.of(run), rates.slope is not None, run.dtype, run.batch_size or run.n,
        sampling=run.sampling if run.batch_size else "", momentum=run.optimizer if rates.momentum is not None else "",
    )  # fmt: skip
    advance_all(*loop.arguments(tile, start, stop, varying_until), places, start, stop)


def losses(tile: Tile) -> Float[Tensor, " B"]:
    """Return the losses over all samples."""
    return loop.losses(advance, tile)


@cache
def _program(
    architecture: Architecture, leaky: bool, dtype: str, batch: int, *, sampling: str, momentum: str
) -> tuple[Callable[..., None], np.ndarray]:
    """Return the program for a shape, and where in theta each of its weights is."""
    d, units, units2 = architecture.sizes[0], architecture.sizes[1], (architecture.sizes[2:-1] or (None,))[0]
    by_units = units2 is None and units >= 16 and d <= 8 and (units >= 64 or batch <= 32)  # measured (bench/README.md)
    lanes = 16 if dtype == "float32" else 8  # of the widest vectors there are
    blocks = -(-batch // _BLOCK)
    source = _TEMPLATES.get_template("units.jinja" if by_units else "samples.jinja").render(
        sizes=architecture.sizes, d=d, units=units, units2=units2, count=architecture.count,
        bias=int(architecture.bias), output_bias=architecture.output_bias, leaky=leaky, dtype=dtype, batch=batch,
        block=4 if by_units else -(-batch // (blocks * lanes)) * lanes,
        sampling=sampling, rows="order" if sampling == "subset" else "picks",
        momentum=bool(momentum), nesterov=momentum == "nesterov",
    )  # fmt: skip
    places = architecture.by_feature.numpy() if by_units else np.arange(architecture.count)
    return program(source).advance, places


_TEMPLATES = Environment(loader=PackageLoader("relusweep.sweep.kernels.training", "source"), undefined=StrictUndefined)
