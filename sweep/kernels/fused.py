"""The fused kernel: a program of its own for each shape of network, in which a run stays in the core's cache.

One pass over the samples makes outputs and gradients, and every size is a constant to the compiler. The programs are
written from the templates in `source/` and compiled by numba. A run is computed alone and always
in the same order, so that its numbers do not depend on the others of its pack.
"""

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from torch import Tensor

from sweep.kernels.program import program
from sweep.model import Architecture, Inputs
from sweep.optimize import Rates, streams
from sweep.run import Run

NAME = "fused"
_MAX_INPUTS = 32  # products with the inputs are unrolled; with more of them, batched matrix products are faster
_MAX_UNITS = 64  # of each of two layers: the compiler's time grows with them
_MAX_WEIGHTS = 1024  # between them, as with the inputs
_BLOCK = 128  # samples at a time, if they are the contiguous axis
_PAIRS = 2**23  # of units and samples, over the runs of a tile: a fraction of a second for a window


def supports(run: Run, device: torch.device) -> bool:
    """Tell whether this kernel trains runs of this shape."""
    small = run.d <= _MAX_INPUTS
    if run.width2 is not None:
        small &= max(run.width, run.width2) <= _MAX_UNITS and run.width * run.width2 <= _MAX_WEIGHTS
    return small and device.type == "cpu" and run.optimizer != "adam"


def tile_size(run: Run, device: torch.device) -> int:
    """How many runs to advance between two looks at the world: they do not share the cache."""
    return max(1, min(256, _PAIRS // ((run.width + (run.width2 or 0)) * run.n)))


def advance(
    run: Run,
    theta: Tensor,
    buffers: tuple[Tensor, ...],
    peak: Tensor,
    rates: Rates,
    x: Inputs,
    y: Tensor,
    start: int,
    stop: int,
    warming_until: int,
) -> None:
    """Take the steps start … stop-1 in place; arguments as those of the reference kernel."""
    advance_all = program(_source(run, rates.decay is not None)).advance
    numbers = [
        torch.zeros_like(peak) if v is None else v.flatten() for v in (rates.momentum, rates.warmup, rates.slope)
    ]
    tensors = [
        theta,
        buffers[0] if buffers else theta[:0],
        rates.lr.expand_as(theta),
        theta[:0] if rates.decay is None else rates.decay,
        *numbers,
        streams(rates.seed),
        (x if x.ndim == 3 else x[None])[..., : run.d],
        y,
        peak,
    ]
    assert all(tensor.is_contiguous() for tensor in (theta, *buffers, peak)), "changed in place"
    advance_all(*(tensor.contiguous().numpy() for tensor in tensors), _places(run), start, stop)


def losses(run: Run, theta: Tensor, rates: Rates, x: Inputs, y: Tensor) -> Tensor:
    """Compute the losses (B,) over all samples: what a full step of no length meets."""
    peak = torch.zeros_like(theta[:, 0])
    still = Rates(torch.zeros_like(rates.lr), None, None, None, rates.slope, rates.seed)
    gd = run.model_copy(update={"optimizer": "gd", "batch_size": 0, "momentum": None})
    advance(gd, theta.clone(), (), peak, still, x, y, 0, 1, 0)
    return peak


def _places(run: Run) -> np.ndarray:
    """Where in theta each of a program's weights is."""
    architecture = Architecture.of(run)
    places = np.arange(architecture.count)
    if _by_units(run):
        units, inputs = architecture.shapes[0]
        places[: units * inputs] = places[: units * inputs].reshape(units, inputs).T.ravel()
    return places


def _by_units(run: Run) -> bool:
    """Whether units are the contiguous axis, or samples: by what was faster (bench/README.md)."""
    return run.depth == 1 and run.width >= 16 and run.d <= 8


def _source(run: Run, decay: bool) -> str:
    """Write the program for a shape."""
    architecture, batch = Architecture.of(run), run.batch_size or run.n
    lanes = 16 if run.dtype == "float32" else 8  # of the widest vectors there are
    blocks = -(-batch // _BLOCK)
    by_units = _by_units(run)
    block = 4 if by_units else -(-batch // (blocks * lanes)) * lanes
    return _TEMPLATES.get_template("units.jinja" if by_units else "samples.jinja").render(
        sizes=architecture.sizes, d=run.d, units=run.width, units2=run.width2, count=architecture.count,
        bias=int(run.bias), leaky=run.activation == "leaky_relu", dtype=run.dtype, batch=batch, block=block,
        sampled=bool(run.batch_size), momentum=run.optimizer == "momentum", decay=decay,
    )  # fmt: skip


_TEMPLATES = Environment(loader=PackageLoader("sweep.kernels", "source"), undefined=StrictUndefined)
