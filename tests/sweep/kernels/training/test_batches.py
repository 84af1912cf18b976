"""Mini-batches drawn one at a time by compiled loops: those of the reference."""

import numpy as np
import pytest
import torch

from relusweep.sweep.kernels.training.batches import draw, undo
from relusweep.sweep.optimize import draw_batches, streams


@pytest.mark.parametrize(("n", "batch"), [(1, 1), (7, 3), (20, 20)])
def test_batches_are_those_of_the_reference_and_leave_the_samples_in_order(n, batch):
    seed = torch.tensor([12345])
    expected = draw_batches(seed, 5, 4, n, batch)[:, 0]
    stream, order, picks = np.uint64(streams(seed).numpy().view(np.uint64)[0]), np.arange(n), np.empty(batch, np.int64)
    for step in range(4):
        draw(stream, np.uint64(5 + step), order, picks)
        assert order[:batch].tolist() == expected[step].tolist()
        undo(order, picks)
        assert order.tolist() == list(range(n))
