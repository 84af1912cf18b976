"""Sampling: which samples a step sees, and the noise on their labels: functions of seed, purpose and step alone.

A run draws the same in every pack, on every device, and after an interruption.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from relusweep.sweep.model import BATCHES, LABEL_NOISE

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # 64-bit constants as signed integers, which torch has; products wrap around


def draw_batches(
    seed: Int[Tensor, " B"], first_step: int, steps: int, n: int, batch_size: int, sampling: str = "subset"
) -> Int[Tensor, "steps B batch"]:
    """Draw the mini-batch of every step and run, independent of those of all other runs.

    `subset`: a uniformly random subset of the n samples, independent of those of all other steps, not epochs: the
    stability theory of SGD (Mulayoff & Michaeli 2024) is about these. It is the beginning of a shuffle (Fisher &
    Yates), whose t-th exchange is a function of (seed, purpose, step, t). `replacement`: each sample is drawn from all
    n, independent of all others. `epoch`: a shuffle of all n is dealt out, batch after batch; what is left of it and
    makes no whole batch is not seen.

    Raises:
        ValueError: if there is no such sampling.
    """
    step = torch.arange(first_step, first_step + steps, device=seed.device)
    if sampling == "subset":
        return _shuffles(seed, step, n, batch_size)[..., :batch_size]
    if sampling == "replacement":
        place = torch.arange(batch_size, device=seed.device)
        bits = _bits(streams(seed)[:, None], (step[:, None, None] * n + place))
        return bits * n >> 31
    if sampling == "epoch":
        length = n // batch_size
        first = first_step // length
        epochs = torch.arange(first, (first_step + steps - 1) // length + 1, device=seed.device)
        dealt = _shuffles(seed, epochs, n, n)[..., : length * batch_size].unflatten(-1, (length, batch_size))
        return dealt.transpose(1, 2).flatten(0, 1)[first_step - first * length :][:steps]
    raise ValueError(f"sampling = {sampling!r}: unknown; expected subset, replacement or epoch")


def _shuffles(seed: Int[Tensor, " B"], keys: Int[Tensor, " k"], n: int, exchanges: int) -> Int[Tensor, "k B n"]:
    """Return the samples after the first exchanges of a shuffle, one for each key and run."""
    order = torch.arange(n, device=seed.device).expand(len(keys), len(seed), n).clone()
    stream = streams(seed)
    for t in range(exchanges):
        pick = t + (_bits(stream, (keys * n + t)[:, None]) * (n - t) >> 31)[..., None]
        picked = order.gather(-1, pick)
        order.scatter_(-1, pick, order[..., t : t + 1].clone())
        order[..., t : t + 1] = picked
    return order


def label_noise(seed: Int[Tensor, " B"], step: int, rows: Int[Tensor, "B m"], n: int) -> Float[Tensor, "B m"]:
    """Return standard normal numbers, float64, one for each run and sample of this step (Box & Muller)."""
    stream, place = _mix(seed + (LABEL_NOISE << 32))[:, None], 2 * (step * n + rows)
    radius, angle = ((_bits(stream, place + k).double() + 0.5) / 2**31 for k in (0, 1))
    return (-2 * radius.log()).sqrt() * (2 * math.pi * angle).cos()


def streams(seed: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Return where the random numbers of each run's batches begin; seeds have 31 bits."""
    return _mix(seed + (BATCHES << 32))


def _bits(stream: Tensor, place: Tensor) -> Tensor:
    """Return 31 random bits for each place in a stream."""
    return _mix(stream + place * _GOLDEN) >> 33 & 2**31 - 1


def _mix(z: Tensor) -> Tensor:
    """Scramble 64-bit integers, one to one (the finaliser of SplitMix64: Steele, Lea & Flood 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64)):
        z = (z ^ (z >> shift & (1 << 64 - shift) - 1)) * factor  # the mask makes the shift a logical one
    return z ^ (z >> 31 & (1 << 33) - 1)
