"""Resident: the program of the persistent kernel, in Triton. Loaded only where it runs.

A run is one warp, so that none waits for another. Its lanes are a grid of S samples by L units: a lane holds the
weights of U units in its registers, and adds up their gradients over every S-th sample; sums over units and over
samples go from lane to lane. Tensors are (U, S, L), of which each lane holds U numbers, or (1, S, L) and (1, 1, L).

The trained tensors of a run are a tuple: the rows of the first layer by features, its biases last; of a second layer
the rows by its units, then its biases; the output weights, as one tensor over the units of a single layer or one by one
of a second; the output bias.
"""

# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false
# A program's text is Triton's: its loops over tuples are unrolled, and what a constant excludes is not there.

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import triton
import triton.language as tl


def program(function: Callable[..., Any], **options: Any) -> Any:
    """Hand a function to Triton; run-time checks around it are taken off."""
    return triton.jit(inspect.unwrap(function), **options)


@program
def activate(z, slope, LEAKY: tl.constexpr):
    """σ(z); a NaN stays one."""
    if LEAKY:
        h = tl.where(z > 0, z, slope * z)
    elif z.dtype == tl.float64:
        h = tl.where(z < 0, 0.0, z)  # cards have no maximum of these
    else:
        h = tl.maximum(z, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return h


@program
def pull_back(e, h, slope, LEAKY: tl.constexpr):
    """Multiply by σ'(z), where h = σ(z)."""
    if LEAKY:
        m = tl.where(h > 0, e, slope * e)
    else:
        m = tl.where(h > 0, e, 0.0)
    return m


@program
def fetch(start, STEP: tl.constexpr, UNITS: tl.constexpr, U: tl.constexpr, S: tl.constexpr, L: tl.constexpr):
    """Read a number of each unit, STEP apart, for all lanes of samples; or with no STEP the one number there is.

    Triton would lay out lanes for the memory's sake, and keep them so, if more numbers than lanes were read at once.
    """
    if STEP == 0:
        numbers = tl.broadcast_to(tl.load(start + tl.zeros([1, 1, 1], tl.int32)), [1, 1, L])
    else:
        numbers = tl.zeros([U, S, L], start.dtype.element_ty)
        for u in tl.static_range(U):
            unit = u * L + tl.arange(0, L)[None, None, :]
            mine = tl.arange(0, U)[:, None, None] == u
            numbers = tl.where(mine, tl.load(start + unit * STEP, unit < UNITS, 0.0), numbers)
    return numbers


@program
def put(
    start, numbers, STEP: tl.constexpr, UNITS: tl.constexpr, U: tl.constexpr, S: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """Write what `fetch` reads."""
    if STEP == 0:
        lane = tl.arange(0, L)[None, None, :]
        tl.store(start + lane, numbers, lane == 0)
    else:
        unit = tl.arange(0, U)[:, None, None] * L + tl.arange(0, L)[None, None, :]
        once = (unit < UNITS) & (tl.arange(0, S)[None, :, None] == 0)
        tl.store(start + unit * STEP + tl.zeros([1, S, 1], tl.int32), numbers, once)


@program
def zeros(like, S: tl.constexpr, K: tl.constexpr):
    """Sums to begin with, one a lane."""
    g = ()
    for k in tl.static_range(K):
        g = g + (tl.zeros([like[k].shape[0], S, like[k].shape[2]], like[k].dtype),)
    return g


@program
def forward(w, xs, slope, D: tl.constexpr, BIAS: tl.constexpr, LEAKY: tl.constexpr):
    """Units of the first layer."""
    z = w[0] * xs[0]
    if BIAS:
        z = w[D] + z
    for q in tl.static_range(1, D):
        z += w[q] * xs[q]
    return activate(z, slope, LEAKY)


@program
def backward(g, m, xs, D: tl.constexpr, BIAS: tl.constexpr):
    """Add the gradient of the first layer, whose sensitivities are m."""
    new = ()
    for q in tl.static_range(D):
        new = new + (g[q] + m * xs[q],)
    if BIAS:
        new = new + (g[D] + m,)
    return new


@program
def shallow(
    w, g, xs, y, valid, slope,
    D: tl.constexpr, BIAS: tl.constexpr, LEAKY: tl.constexpr, S: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """Add to `g` what S samples contribute, and return it with their residuals.

    The output weights' gradient needs no sum of its own: see `finish`.
    """
    h = forward(w, xs, slope, D, BIAS, LEAKY)
    f = tl.sum(tl.sum(w[D + BIAS] * h, 0, keep_dims=True), 2, keep_dims=True)
    if BIAS:
        f += w[D + 2]
    e = tl.broadcast_to(tl.where(valid, f - y, 0.0), [1, S, L])
    new = backward(g, pull_back(e, h, slope, LEAKY), xs, D, BIAS) + (g[D + BIAS],)
    if BIAS:
        new = new + (g[D + 2] + e,)
    return new, e


@program
def deep(
    w, g, xs, y, valid, slope,
    D: tl.constexpr, BIAS: tl.constexpr, UNITS2: tl.constexpr, LEAKY: tl.constexpr, S: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """Do the same for two hidden layers; the second's units come one after the other."""
    SECOND: tl.constexpr = D + BIAS
    LAST: tl.constexpr = D + BIAS + UNITS2 + BIAS * UNITS2
    h = forward(w, xs, slope, D, BIAS, LEAKY)
    f = tl.zeros([1, S, L], h.dtype)
    if BIAS:
        f += w[LAST + UNITS2]
    h2 = ()
    for i in tl.static_range(UNITS2):
        z2 = tl.broadcast_to(tl.sum(tl.sum(w[SECOND + i] * h, 0, keep_dims=True), 2, keep_dims=True), [1, S, L])
        if BIAS:
            z2 += w[SECOND + UNITS2 + i]
        h2 = h2 + (activate(z2, slope, LEAKY),)
        f += w[LAST + i] * h2[i]
    e = tl.broadcast_to(tl.where(valid, f - y, 0.0), [1, S, L])
    back = tl.zeros_like(h)
    rows, biases, outputs = (), (), ()
    for i in tl.static_range(UNITS2):
        m2 = pull_back(e * w[LAST + i], h2[i], slope, LEAKY)
        back += w[SECOND + i] * m2
        rows = rows + (g[SECOND + i] + m2 * h,)
        if BIAS:
            biases = biases + (g[SECOND + UNITS2 + i] + m2,)
        outputs = outputs + (g[LAST + i] + e * h2[i],)
    new = backward(g, pull_back(back, h, slope, LEAKY), xs, D, BIAS) + rows + biases + outputs
    if BIAS:
        new = new + (g[LAST + UNITS2] + e,)
    return new, e


@program
def finish(w, g, ROW: tl.constexpr, UNITS2: tl.constexpr, K: tl.constexpr):
    """Add up the lanes of samples.

    With one hidden layer, since σ(z) = σ'(z) z, an output weight's gradient is the product of the weights of its unit
    with the gradient of these, as it is before the output weight has been multiplied in.
    """
    sums = ()
    for k in tl.static_range(K):
        sums = sums + (tl.sum(g[k], 1, keep_dims=True),)
    if UNITS2:
        new = sums
    else:
        new = ()
        output = w[0] * sums[0]
        for q in tl.static_range(1, ROW):
            output += w[q] * sums[q]
        for q in tl.static_range(ROW):
            new = new + (w[ROW] * sums[q],)
        new = new + (output,)
        for k in tl.static_range(ROW + 1, K):
            new = new + (sums[k],)
    return new


@program
def shortening(g, clip, K: tl.constexpr, STEPS: tl.constexpr, BATCH: tl.constexpr):
    """Return what the gradient, the sums `g` over a batch, is to be multiplied by so that it is no longer than clip.

    A scalar: a tensor that only one branch makes would have to change its layout, through shared memory.
    """
    scale = tl.minimum(clip, 1.0) * 0 + 1
    if clip < float("inf"):
        square = scale * 0
        for k in tl.static_range(K):
            each = tl.sum(g[k] * g[k], 0)  # (S, L) or (1, L): lanes of samples have the same
            if STEPS[k] == 0:  # one number, which all lanes have
                square += tl.max(tl.max(each, 0), 0)
            else:
                square += tl.max(tl.sum(each, 1), 0)
        scale = tl.minimum(clip / (tl.sqrt(square) * (1.0 / BATCH)), 1.0)
    return scale


@program
def mix(z):
    """Scramble 64-bit integers as sweep.sampling does."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return z ^ (z >> 31)


@program
def draw(stream, step, N: tl.constexpr, BATCH: tl.constexpr, PICKS: tl.constexpr):
    """Return the batch of a step, as sweep.sampling.draw_batches does, without the shuffled samples themselves.

    Exchange t brought to place t what lay in place pick_t. Going back through the earlier exchanges s = t-1 … 0, what
    lies in place pick_s came from place s.
    """
    t = tl.arange(0, PICKS)
    first = (tl.zeros_like(t) + step).to(tl.uint64) * N
    key = mix(stream + (first + t.to(tl.uint64)) * 0x9E3779B97F4A7C15)
    left = tl.maximum(N - t, 1).to(tl.uint64)
    pick = t + (((key >> 33) * left) >> 31).to(tl.int32)
    row = pick
    for back in range(1, BATCH):
        s = BATCH - 1 - back
        row = tl.where((t > s) & (row == tl.gather(pick, tl.zeros_like(t) + s, 0)), s, row)
    return tl.where(t < BATCH, row, 0)


# All runs of a shape are to be trained by the very same machine code, wherever in memory they lie.
ANY = ("theta", "memory", "peaks", "numbers", "factors", "streams", "xs", "ys", "stride", "start", "stop")


@partial(program, do_not_specialize=ANY)
def advance(
    theta, memory, peaks, numbers, factors, streams, xs, ys, stride, start, stop,
    D: tl.constexpr, BIAS: tl.constexpr, UNITS: tl.constexpr, UNITS2: tl.constexpr, P: tl.constexpr, K: tl.constexpr,
    PLACES: tl.constexpr, STEPS: tl.constexpr, LAYERS: tl.constexpr, BIASES: tl.constexpr,
    N: tl.constexpr, BATCH: tl.constexpr, SAMPLED: tl.constexpr, PICKS: tl.constexpr,
    LEAKY: tl.constexpr, MOMENTUM: tl.constexpr, NESTEROV: tl.constexpr,
    GROUPS: tl.constexpr, U: tl.constexpr, S: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """Take a run from step start to stop.

    Its P parameters are K tensors, of which each has a place, a step from unit to unit, a layer, and may be of biases.
    """
    run = tl.program_id(0).to(tl.int64)
    theta += run * P
    memory += run * P
    peaks += run
    xs += run * stride
    ys += run * N
    factors += run * (stop - start)
    numbers += run * 8  # rates of the layers, decays of weights and biases, μ, clip, slope
    rates = (tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2))
    decays = (tl.load(numbers + 3), tl.load(numbers + 4))
    momentum, clip, slope = tl.load(numbers + 5), tl.load(numbers + 6), tl.load(numbers + 7)
    stream = tl.load(streams + run).to(tl.uint64)
    peak = fetch(peaks, 0, UNITS, U, S, L)
    w, moved = (), ()
    for k in tl.static_range(K):
        w = w + (fetch(theta + PLACES[k], STEPS[k], UNITS, U, S, L),)
        if MOMENTUM:
            moved = moved + (fetch(memory + PLACES[k], STEPS[k], UNITS, U, S, L),)
    lane = tl.arange(0, S)
    for step in range(start, stop):
        g = zeros(w, S, K)
        squares = tl.zeros([1, S, L], peak.dtype)
        if SAMPLED:
            batch = draw(stream, step, N, BATCH, PICKS)
        for first in range(0, BATCH, GROUPS * S):
            for group in tl.static_range(GROUPS):
                place = first + group * S + lane
                if SAMPLED:
                    row = tl.gather(batch, place, 0)[None, :, None]
                else:
                    row = place[None, :, None]
                valid = place[None, :, None] < BATCH
                y = tl.load(ys + row, valid, 0.0)
                x = ()
                for q in tl.static_range(D):
                    x = x + (tl.load(xs + q * N + row, valid, 0.0),)
                if UNITS2:
                    g, e = deep(w, g, x, y, valid, slope, D, BIAS, UNITS2, LEAKY, S, L)
                else:
                    g, e = shallow(w, g, x, y, valid, slope, D, BIAS, LEAKY, S, L)
                squares += e * e
        loss = tl.sum(squares, 1, keep_dims=True) * (0.5 / BATCH)
        peak = tl.where((loss > peak) | (loss != loss), loss, peak)  # the first NaN stays
        factor = tl.load(factors + (step - start))
        g = finish(w, g, D + BIAS, UNITS2, K)
        scale = shortening(g, clip, K, STEPS, BATCH)
        new, newly = (), ()
        for k in tl.static_range(K):
            change = g[k] * (1.0 / BATCH) * scale + decays[BIASES[k]] * w[k]
            if NESTEROV:
                newly = newly + (change + momentum * moved[k],)
                change += momentum * newly[k]
            elif MOMENTUM:
                change += momentum * moved[k]
                newly = newly + (change,)
            new = new + (w[k] - factor * rates[LAYERS[k]] * change,)
        w, moved = new, newly
    put(peaks, peak, 0, UNITS, U, S, L)
    for k in tl.static_range(K):
        put(theta + PLACES[k], w[k], STEPS[k], UNITS, U, S, L)
        if MOMENTUM:
            put(memory + PLACES[k], moved[k], STEPS[k], UNITS, U, S, L)
