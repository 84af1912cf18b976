"""The persistent kernel: on a GPU one program trains a run, its weights in registers, from the first step to the last.

Nothing but the data is read on the way. A run is computed alone and always in the same order, so that its numbers do
not depend on the others of its pack. Held against autograd in Triton's interpreter; it has not run on a GPU yet.
"""

import math
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.kernels.training import loop
from relusweep.sweep.kernels.training.kernel import Tile
from relusweep.sweep.model import Architecture
from relusweep.sweep.optimize import Rates
from relusweep.sweep.run import Run
from relusweep.sweep.sampling import streams
from relusweep.sweep.shape import hidden_units

NAME = "persistent"
OPTIMIZERS = frozenset({"gd", "sgd", "momentum", "nesterov"})  # all of them momenta, some of which remember nothing
_MAX_INPUTS = 16  # products with the inputs are unrolled; with more of them, batched matrix products are faster
_MAX_BATCH = 256  # of a mini-batch: the cost of drawing it grows with its square
_LANES = 32
_KEPT = 128  # registers for what a lane keeps from step to step; it has 255 for everything
_FEW = 64  # of them leave enough to be generous; with more, those for everything are limited
_LIMIT = 168  # then twelve warps share a multiprocessor
_IN_FLIGHT = 32  # registers of products of units and samples
_PAIRS = 2**33  # of units and samples, over the runs of a tile: about a second for a window
_FULL = 4096  # runs that keep any card busy


def supports(run: Run, device: torch.device) -> bool:
    """Return whether this kernel trains runs of this shape on the device."""
    return device.type == "cuda" and fits(run) and unsupported_reason(device) is None


@cache
def unsupported_reason(device: torch.device) -> str | None:
    """Return why Triton makes no code for this card, None if it does; it needs a C compiler, and Python's headers."""
    try:
        from triton.runtime import driver

        with torch.cuda.device(device):
            card: Any = driver.active.get_current_target()
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if card.backend == "cuda" and card.arch >= 80:
        return None
    return f"{card.backend} {card.arch}; expected cuda 80 or higher"


def fits(run: Run) -> bool:
    """Return whether one warp can train a run of this shape."""
    simple = run.optimizer in OPTIMIZERS and run.d <= _MAX_INPUTS and run.batch_size <= _MAX_BATCH
    simple &= run.sampling == "subset" and not run.label_noise and run.output_bias is None
    return simple and (run.d + 1) * run.n < 2**31 and bool(constants(run))


def tile_size(run: Run, device: torch.device) -> int:
    """Return how many runs to advance together: all, unless a window would take much longer than a second."""
    return max(_FULL, min(2**20, _PAIRS // (hidden_units(run) * run.n)))


def constants(run: Run) -> dict[str, Any]:
    """Return what is a constant to the compiler, nothing if no warp has the registers for the run.

    Of all grids of lanes, samples by units, the one with the fewest instructions a step is taken.
    """
    batch, second, bias = run.batch_size or run.n, run.width2 or 0, int(run.bias)
    row, momentum = run.d + bias, run.optimizer in ("momentum", "nesterov")
    words = 2 if run.dtype == "float64" else 1
    best: tuple[int, dict[str, Any]] = 2**62, {}
    for bits in range(_LANES.bit_length()):
        across = 2**bits  # lanes of units
        units, rounds = _power_of_two(-(-run.width // across)), -(-batch * across // _LANES)  # of each lane
        tensors = units * (row + (second or 1)) + 2 * second
        kept = words * tensors * (3 if momentum else 2)  # weights, gradients and momenta
        # a number goes to another lane at a quarter of the speed of a product
        products = rounds * (units * (2 * row + 3 * (second or 1) + 3) + 8 * second)
        sums = 4 * (rounds * bits * (second or 1) + (_LANES.bit_length() - 1 - bits) * tensors)
        if kept <= _KEPT and products + sums < best[0]:
            groups = max(1, min(8, _IN_FLIGHT // (units * words * (1 + second)), _power_of_two(rounds)))
            lanes = {"GROUPS": groups, "U": units, "S": _LANES // across, "L": across}
            best = products + sums, lanes | {"maxnreg": _LIMIT if kept > _FEW else None}
    if not best[1]:
        return {}
    tensors = _tensors(run)
    return best[1] | {
        "D": run.d, "BIAS": bias, "UNITS": run.width, "UNITS2": second, "P": Architecture.of(run).count,
        "K": len(tensors), "PLACES": tuple(t[0] for t in tensors), "STEPS": tuple(t[1] for t in tensors),
        "LAYERS": tuple(t[2] for t in tensors), "BIASES": tuple(t[3] for t in tensors),
        "N": run.n, "BATCH": batch, "SAMPLED": bool(run.batch_size),
        "PICKS": max(_power_of_two(batch), best[1]["GROUPS"] * best[1]["S"]), "LEAKY": run.activation == "leaky_relu",
        "MOMENTUM": momentum, "NESTEROV": run.optimizer == "nesterov", "num_warps": 1, "enable_fp_fusion": True,
    }  # fmt: skip


def _tensors(run: Run) -> list[tuple[int, int, int, int]]:
    """Return of each tensor of a run its place, the step from unit to unit, its layer, and 1 for biases."""
    row, second, bias = run.d + run.bias, run.width2 or 0, int(run.bias)
    first, last = run.width * row, run.width * row + second * (run.width + bias)
    tensors = [(q, row, 0, int(q == run.d)) for q in range(row)]
    tensors += [(first + i * (run.width + bias), 1, 1, 0) for i in range(second)]
    tensors += [(first + i * (run.width + bias) + run.width, 0, 1, 1) for i in range(second * bias)]
    tensors += [(last + i, 0, 2, 0) for i in range(second)] or [(last, 1, 2, 0)]
    return tensors + [(last + (second or run.width), 0, 2, 1)] * bias


def _power_of_two(number: int) -> int:
    """Round up."""
    return 1 << (number - 1).bit_length()


def advance(tile: Tile, start: int, stop: int, varying_until: int) -> None:
    """Take the steps start … stop-1 in place."""
    from relusweep.sweep.kernels.training import resident  # loads Triton

    run, theta, buffers, peak, rates, x, y = tile
    assert all(tensor.is_contiguous() for tensor in (theta, *buffers, peak)), "changed in place"
    features = x.mT.contiguous()  # one after the other, as `Training` has them
    stride = features[0].numel() if x.ndim == 3 else 0
    factors = rates.window(start, stop, varying_until)
    if factors is None:  # one program, whether rates vary or not
        factors = theta.new_ones(len(theta), stop - start)
    with torch.cuda.device_of(theta):
        resident.advance[(len(theta),)](
            theta, (buffers or (theta,))[0], peak, _numbers(run, theta, rates), factors.contiguous(),
            streams(rates.seed), features, y.contiguous(), stride, start, stop, **constants(run),
        )  # fmt: skip


def _numbers(run: Run, theta: Tensor, rates: Rates) -> Tensor:
    """Return each run's own numbers (B, 8): what no run has is 0, or a clip that nothing reaches."""
    lr = rates.lr.expand_as(theta)
    second = Architecture.of(run).shapes[0]
    zero = torch.zeros_like(theta[:, 0])
    columns = (
        lr[:, 0],
        lr[:, second[0] * second[1]],
        lr[:, -1],
        zero if rates.decay is None else rates.decay[:, 0],
        zero if rates.decay is None else rates.decay[:, -1],  # a bias, if there are biases
        zero if rates.momentum is None else rates.momentum[:, 0],
        zero + math.inf if rates.clip is None else rates.clip[:, 0],
        zero if rates.slope is None else rates.slope[:, 0, 0],
    )
    return torch.stack(columns, 1)


def losses(tile: Tile) -> Float[Tensor, " B"]:
    """Return the losses over all samples."""
    return loop.losses(advance, tile)
