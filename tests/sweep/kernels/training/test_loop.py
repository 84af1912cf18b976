"""What compiled loops have in common: they change the tile's own memory, and losses change nothing."""

import numpy as np
import pytest
import torch

from relusweep.sweep.kernels.training import loop, plain
from tests.sweep.kernels.training.cases import LEAKY, begun, make


def tile_of(**parameters):
    return begun(make(3, d=2, n=5, width=4, **parameters), plain).tile(slice(None))


def test_arguments_are_the_memory_of_the_tile_that_is_changed_in_place():
    tile = tile_of(optimizer="momentum", momentum=0.5)
    arguments = loop.arguments(tile, 0, 3, 0)
    for tensor, array in ((tile.theta, arguments[0]), (tile.buffers[0], arguments[1]), (tile.peak, arguments[-1])):
        array[...] = 7
        assert bool((tensor == 7).all())


def test_rows_that_are_no_memory_of_their_own_are_refused():
    tile = tile_of()
    with pytest.raises(AssertionError, match="changed in place"):
        loop.arguments(tile._replace(theta=tile.theta.T.contiguous().T), 0, 3, 0)


def test_inputs_have_no_column_of_ones_and_what_runs_have_none_of_is_empty():
    tile = tile_of(**LEAKY)
    _, memory, _, factors, decays, momenta, clips, slopes, _, xs, ys, _ = loop.arguments(tile, 0, 3, 3)
    assert xs.shape == (1, 5, 2)
    assert ys.shape == (3, 5)
    assert len(memory) == len(factors) == len(decays) == len(clips) == 0
    assert not momenta.any()
    np.testing.assert_array_equal(slopes, [0.2] * 3)


def test_factors_of_the_rates_are_there_until_they_are_what_they_stay():
    tile = tile_of(warmup_steps=4)
    np.testing.assert_array_equal(loop.arguments(tile, 2, 6, 4)[3], [[0.75, 1.0, 1.0, 1.0]] * 3)
    assert len(loop.arguments(tile, 4, 6, 4)[3]) == 0


def test_losses_are_a_step_of_no_length_that_changes_nothing():
    tile = tile_of(optimizer="momentum", momentum=0.5, weight_decay=0.1, batch_size=2)
    before = [tensor.clone() for tensor in (tile.theta, *tile.buffers, tile.peak)]
    torch.testing.assert_close(loop.losses(plain.advance, tile), plain.losses(tile), rtol=1e-14, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(before, (tile.theta, *tile.buffers, tile.peak), strict=True))
