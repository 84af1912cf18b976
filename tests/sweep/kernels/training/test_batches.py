"""Mini-batches drawn one at a time by compiled loops: those of the reference."""

import numpy as np
import pytest
import torch

from relusweep.sweep.kernels.training.batches import deal, draw, draw_again, undo
from relusweep.sweep.sampling import draw_batches, streams

SIZES = [(1, 1), (7, 3), (20, 20)]


def drawing(n, batch):
    """The stream of a seed, the samples in order, and room for a batch."""
    stream = np.uint64(streams(torch.tensor([12345])).numpy().view(np.uint64)[0])
    return stream, np.arange(n), np.empty(batch, np.int64)


def expected(first, steps, n, batch, sampling="subset"):
    return draw_batches(torch.tensor([12345]), first, steps, n, batch, sampling)[:, 0].tolist()


@pytest.mark.parametrize(("n", "batch"), SIZES)
def test_batches_are_those_of_the_reference_and_leave_the_samples_in_order(n, batch):
    stream, order, picks = drawing(n, batch)
    for step, rows in enumerate(expected(5, 4, n, batch), 5):
        draw(stream, np.uint64(step), order, picks)
        assert order[:batch].tolist() == rows
        undo(order, picks)
        assert order.tolist() == list(range(n))


@pytest.mark.parametrize(("n", "batch"), SIZES)
def test_batches_with_replacement_are_those_of_the_reference(n, batch):
    stream, order, picks = drawing(n, batch)
    for step, rows in enumerate(expected(5, 4, n, batch, "replacement"), 5):
        draw_again(stream, np.uint64(step), order, picks)
        assert picks.tolist() == rows


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize(("n", "batch"), SIZES)
def test_dealt_batches_are_those_of_the_reference_wherever_one_begins(n, batch, first):
    stream, order, picks = drawing(n, batch)
    for step, rows in enumerate(expected(first, 9, n, batch, "epoch"), first):
        deal(stream, step, step == first, order, picks)
        assert picks.tolist() == rows
