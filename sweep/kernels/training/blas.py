"""The kernel for networks too large to be unrolled: each run alone, its matrix products made by BLAS on one thread.

Between two products one pass over the activations, compiled by numba, does all the rest. A run is computed alone and
always in the same order, so that its numbers do not depend on the others of its pack.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep.kernels.jit.compiled import compiled
from relusweep.sweep.kernels.jit.threads import one_thread
from relusweep.sweep.kernels.training import loop
from relusweep.sweep.kernels.training.batches import deal, draw, draw_again, undo
from relusweep.sweep.kernels.training.kernel import Tile
from relusweep.sweep.model import Architecture
from relusweep.sweep.run import Run

NAME = "blas"
OPTIMIZERS = frozenset({"gd", "sgd", "momentum", "nesterov"})  # all of them momenta, some of which remember nothing
_SAMPLINGS = ("subset", "replacement", "epoch")
_FLOPS = 2**33  # over the runs of a tile: a fraction of a second for a window


def supports(run: Run, device: torch.device) -> bool:
    """Return whether this kernel trains runs of this shape on the device."""
    return device.type == "cpu" and run.optimizer in OPTIMIZERS and not run.label_noise


def tile_size(run: Run, device: torch.device) -> int:
    """Return how many runs to advance between two heartbeats: they do not share the cache."""
    weights = run.width * run.d + run.width * (run.width2 or 0)
    return max(1, min(256, _FLOPS // (200 * 4 * (run.batch_size or run.n) * weights)))


def advance(tile: Tile, start: int, stop: int, varying_until: int) -> None:
    """Take the steps start … stop-1 in place."""
    one_thread()
    run, architecture = tile.run, Architecture.of(tile.run)
    _advance(
        *loop.arguments(tile, start, stop, varying_until), _places(architecture), run.width, run.width2 or 0,
        architecture.bias, architecture.output_bias, run.batch_size, _SAMPLINGS.index(run.sampling),
        run.optimizer == "nesterov", start, stop,
    )  # fmt: skip


def losses(tile: Tile) -> Float[Tensor, " B"]:
    """Return the losses over all samples."""
    return loop.losses(advance, tile)


@cache
def _places(architecture: Architecture) -> np.ndarray:
    """Return where in theta is each of W₁, b₁, W₂, b₂, a, c: matrices without their biases, for the products."""
    blocks, first = [], 0
    for (units, inputs), bias in zip(architecture.shapes, architecture.biases, strict=True):
        rows = torch.arange(first, first + units * inputs).view(units, inputs)
        blocks += [rows[:, : inputs - bias].flatten(), rows[:, inputs - bias :].flatten()]
        first += units * inputs
    return torch.cat(blocks).numpy()


@compiled
def _activate(h, b, leak):
    """Turn products h (m, q) into activations, in place."""
    zero = h.dtype.type(0)
    for j in range(len(h)):
        row = h[j]
        for i in range(len(row)):
            z = row[i] + b[i]
            row[i] = z if z > zero else leak * z


@compiled
def _residuals(h, b, a, c, y, rows, gb, leak):
    """Replace the products h (m, q) of the last layer by e σ' of the residuals e, and add them to gb (q,).

    Returns:
        Σ e² and Σ e.
    """
    zero = h.dtype.type(0)
    squares, total = zero, zero
    for j in range(len(h)):
        row = h[j]
        e = c - y[rows[j]]
        for i in range(len(row)):
            z = row[i] + b[i]
            row[i] = z
            e += a[i] * (z if z > zero else leak * z)
        squares += e * e
        total += e
        for i in range(len(row)):
            delta = e if row[i] > zero else leak * e
            row[i] = delta
            gb[i] += delta
    return squares, total


@compiled
def _mask(delta, h, gb, leak):
    """Multiply delta (m, q) by σ', known from the activations h, in place, and add it to gb (q,)."""
    zero = h.dtype.type(0)
    for j in range(len(h)):
        row, active = delta[j], h[j]
        for i in range(len(row)):
            masked = row[i] if active[i] > zero else leak * row[i]
            row[i] = masked
            gb[i] += masked


@compiled
def _output(w, b, gw, gb, a, ga):
    """Finish the last hidden layer: its gradients lack the factor a, and σ(z) = σ'(z) z makes those of a from them."""
    for i in range(len(a)):
        g = b[i] * gb[i]
        for q in range(w.shape[1]):
            g += w[i, q] * gw[i, q]
            gw[i, q] *= a[i]
        gb[i] *= a[i]
        ga[i] = g


@compiled
def _advance(
    weights, memory, rates, factors, decays, momenta, clips, leaks, streams, xs, ys, peaks, places, units, units2, bias,
    output_bias, batch, sampling, nesterov, start, stop,
):  # fmt: skip
    T = weights.dtype.type  # noqa: N806
    (count,), (_, n, d) = places.shape, xs.shape
    m = batch if batch else n
    w, grad = np.zeros(count, weights.dtype), np.zeros(count, weights.dtype)
    rate, decayed, moved = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    none = np.zeros(max(units, units2), weights.dtype)
    # the parts of both, one after the other
    at1, at2 = units * d, units * d + units * bias
    at3 = at2 + units2 * units
    at4 = at3 + units2 * bias if units2 else at2
    last = units2 if units2 else units
    w1, g1 = w[:at1].reshape(units, d), grad[:at1].reshape(units, d)
    w2, g2 = w[at2:at3].reshape(units2, units), grad[at2:at3].reshape(units2, units)
    b1, gb1 = (w[at1:at2], grad[at1:at2]) if bias else (none[:units], np.zeros(units, weights.dtype))
    b2, gb2 = (w[at3:at4], grad[at3:at4]) if bias else (none[:units2], np.zeros(units2, weights.dtype))
    a, ga = w[at4 : at4 + last], grad[at4 : at4 + last]
    h1, h2 = np.empty((m, units), weights.dtype), np.empty((m, units2), weights.dtype)
    delta1, scaled = np.empty((m, units if units2 else 0), weights.dtype), np.empty_like(w2)
    order, picks, gathered = np.arange(n), np.empty(batch, np.int64), np.empty((batch, d), weights.dtype)
    for run in range(len(weights)):
        x, y, leak, peak = xs[run if len(xs) > 1 else 0], ys[run], leaks[run], peaks[run]
        for i in range(count):
            w[i] = weights[run, places[i]]
            rate[i] = rates[run, places[i]]
            decayed[i] = decays[run, places[i]] if len(decays) else T(0)
            moved[i] = memory[run, places[i]] if len(memory) else T(0)
        for step in range(start, stop):
            inputs, rows = x, order
            if batch:
                if sampling == 0:
                    draw(np.uint64(streams[run]), np.uint64(step), order, picks)
                elif sampling == 1:
                    draw_again(np.uint64(streams[run]), np.uint64(step), order, picks)
                else:
                    deal(np.uint64(streams[run]), step, step == start, order, picks)
                rows = order if sampling == 0 else picks
                for t in range(batch):
                    gathered[t] = x[rows[t]]
                inputs = gathered
            gb1[:], gb2[:] = T(0), T(0)
            c = w[count - 1] if output_bias else T(0)
            np.dot(inputs, w1.T, h1)
            if units2:
                _activate(h1, b1, leak)
                np.dot(h1, w2.T, h2)
                squares, total = _residuals(h2, b2, a, c, y, rows, gb2, leak)
                np.dot(h2.T, h1, g2)
                for i in range(units2):
                    for q in range(units):
                        scaled[i, q] = a[i] * w2[i, q]
                np.dot(h2, scaled, delta1)
                _mask(delta1, h1, gb1, leak)
                np.dot(delta1.T, inputs, g1)
                _output(w2, b2, g2, gb2, a, ga)
            else:
                squares, total = _residuals(h1, b1, a, c, y, rows, gb1, leak)
                np.dot(h1.T, inputs, g1)
                _output(w1, b1, g1, gb1, a, ga)
            if output_bias:
                grad[count - 1] = total
            if batch and sampling == 0:
                undo(order, picks)
            loss = squares / T(2 * m)
            if not loss <= peak and peak == peak:  # the first NaN stays
                peak = loss
            if len(clips):
                square = T(0)
                for i in range(count):
                    square += grad[i] * grad[i]
                scale = clips[run] / (np.sqrt(square) / T(m))
                if scale < T(1):
                    for i in range(count):
                        grad[i] *= scale
            warm = factors[run, step - start] if len(factors) else T(1)
            if nesterov:
                for i in range(count):
                    g = grad[i] / T(m) + decayed[i] * w[i]
                    moved[i] = g + momenta[run] * moved[i]
                    w[i] -= warm * rate[i] * (g + momenta[run] * moved[i])
            else:
                for i in range(count):
                    g = grad[i] / T(m) + decayed[i] * w[i] + momenta[run] * moved[i]
                    moved[i] = g
                    w[i] -= warm * rate[i] * g
        peaks[run] = peak
        for i in range(count):
            weights[run, places[i]] = w[i]
            if len(memory):
                memory[run, places[i]] = moved[i]
