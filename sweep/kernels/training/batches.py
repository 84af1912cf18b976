"""Mini-batches as `sweep.sampling.draw_batches` draws them, one at a time, for compiled loops."""

import numpy as np

from relusweep.sweep.kernels.jit.compiled import compiled


@compiled
def _mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def draw(stream, step, order, picks):
    """Bring the batch of this step to the front of `order`; `stream` and `step` are unsigned."""
    n = np.uint64(len(order))
    for t in range(len(picks)):
        place = np.uint64(t)
        key = _mix(stream + (step * n + place) * np.uint64(0x9E3779B97F4A7C15))
        pick = np.int64(place + (((key >> np.uint64(33)) * (n - place)) >> np.uint64(31)))
        picks[t] = pick
        order[t], order[pick] = order[pick], order[t]


@compiled
def draw_again(stream, step, order, picks):
    """Draw the batch of this step with replacement."""
    n = np.uint64(len(order))
    for t in range(len(picks)):
        key = _mix(stream + (step * n + np.uint64(t)) * np.uint64(0x9E3779B97F4A7C15))
        picks[t] = np.int64(((key >> np.uint64(33)) * n) >> np.uint64(31))


@compiled
def deal(stream, step, is_first, order, picks):
    """Deal the batch of this step out of the shuffle of its epoch, which `order` keeps from one step to the next."""
    length = len(order) // len(picks)
    epoch, place = step // length, step % length
    if is_first or place == 0:
        n = np.uint64(len(order))
        for t in range(len(order)):
            order[t] = t
        for t in range(len(order)):
            here = np.uint64(t)
            key = _mix(stream + (np.uint64(epoch) * n + here) * np.uint64(0x9E3779B97F4A7C15))
            pick = np.int64(here + (((key >> np.uint64(33)) * (n - here)) >> np.uint64(31)))
            order[t], order[pick] = order[pick], order[t]
    for t in range(len(picks)):
        picks[t] = order[place * len(picks) + t]


@compiled
def undo(order, picks):
    """Bring back what `draw` has brought to the front."""
    for t in range(len(picks) - 1, -1, -1):
        order[t], order[picks[t]] = order[picks[t]], order[t]
