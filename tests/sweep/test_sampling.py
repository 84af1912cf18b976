"""Sampling: laws of the mini-batches and of the noise on labels, and what they depend on."""

import math

import numpy as np
import pytest
import torch

from relusweep.sweep.sampling import draw_batches, label_noise

SAMPLINGS = ("subset", "replacement", "epoch")


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_batches_depend_on_seed_and_step_alone(sampling):
    seeds = torch.tensor([3, 4, 5])
    together = draw_batches(seeds, 0, 50, 20, 6, sampling).sort(-1).values
    alone = draw_batches(seeds[1:2], 0, 50, 20, 6, sampling).sort(-1).values
    late = draw_batches(seeds, 31, 19, 20, 6, sampling).sort(-1).values
    assert torch.equal(together[:, 1:2], alone)
    assert torch.equal(together[31:], late)
    assert not torch.equal(together[:, 0], together[:, 1])
    assert not torch.equal(together[0], together[1])


def test_batches_are_uniform_subsets_without_repetition():
    n, size, steps = 10, 3, 20_000
    rows = draw_batches(torch.tensor([7]), 0, steps, n, size)[:, 0].sort(-1).values
    assert bool((rows.diff(dim=-1) > 0).all())
    assert set(np.unique(rows)) == set(range(n))
    counts = torch.bincount(rows.flatten(), minlength=n).double()
    p = size / n
    assert (counts / steps - p).abs().max() < 4.5 * math.sqrt(p * (1 - p) / steps)
    pairs = torch.bincount(rows[:, 0] * n + rows[:, 1], minlength=n * n).double() / steps
    seen = pairs[pairs > 0]
    assert abs(float(seen.sum()) - 1) < 1e-12
    both = ((rows == 0).any(-1) & (rows == 9).any(-1)).double().mean()
    expected = size * (size - 1) / (n * (n - 1))
    assert abs(float(both) - expected) < 4.5 * math.sqrt(expected / steps)


def test_samples_drawn_with_replacement_are_uniform_and_independent():
    n, size, steps = 5, 3, 20_000
    rows = draw_batches(torch.tensor([7]), 0, steps, n, size, "replacement")[:, 0]
    pairs = torch.bincount(rows[:, 0] * n + rows[:, 2], minlength=n * n).double() / steps
    assert (pairs - 1 / n**2).abs().max() < 4.5 * math.sqrt(1 / n**2 / steps)


@pytest.mark.parametrize(("n", "size"), [(12, 3), (11, 4), (5, 5), (4, 1)])
def test_epoch_deals_out_each_sample_at_most_once_in_another_order_each_time(n, size):
    length = n // size
    rows = draw_batches(torch.tensor([7, 8]), 0, 40 * length, n, size, "epoch")
    epochs = rows.unflatten(0, (40, length)).transpose(1, 2).flatten(2)  # epoch, run, sample
    assert bool((epochs.sort(-1).values.diff(dim=-1) > 0).all())
    if n % size == 0:
        assert torch.equal(epochs.sort(-1).values, torch.arange(n).expand(40, 2, n))
    assert len({tuple(row) for row in epochs.flatten(0, 1).tolist()}) > min(40, math.factorial(n) // 2)
    first = torch.bincount(draw_batches(torch.tensor([9]), 0, 4000 * length, n, size, "epoch")[::length].flatten())
    assert (first / 4000 - size / n).abs().max() < 4.5 * math.sqrt(size / n / 4000)


def test_sampling_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="sampling = 'all': unknown; expected subset, replacement or epoch"):
        draw_batches(torch.tensor([7]), 0, 1, 4, 2, "all")


def test_label_noise_is_standard_normal_and_depends_on_seed_step_and_sample_alone():
    seeds, rows = torch.arange(20), torch.arange(50).expand(20, 50)
    noise = torch.stack([label_noise(seeds, step, rows, 50) for step in range(40)])
    assert abs(float(noise.mean())) < 4.5 / math.sqrt(noise.numel())
    assert abs(float(noise.var()) - 1) < 4.5 * math.sqrt(2 / noise.numel())
    assert abs(float((noise**4).mean()) - 3) < 4.5 * math.sqrt(96 / noise.numel())
    for other in (noise[:, 1:], noise[1:], noise[..., 1:]):
        same = noise[tuple(slice(0, size) for size in other.shape)]
        assert abs(float((same * other).mean())) < 4.5 / math.sqrt(other.numel())
    assert torch.equal(label_noise(seeds[3:4], 7, torch.tensor([[20, 4]]), 50)[0], noise[7, 3, [20, 4]])
