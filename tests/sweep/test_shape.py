"""Shape: counts that agree with the architecture, memory of the optimizers, and work."""

import itertools

import pytest

from relusweep.sweep.model import Architecture
from relusweep.sweep.run import Run
from relusweep.sweep.shape import (
    SHAPE_KEYS,
    buffer_count,
    hidden_units,
    layer_sizes,
    number_bytes,
    parameter_count,
    shape_key,
    work,
)


def run(**parameters):
    return Run.model_validate({"problem": "sine", "lr": 0.1} | parameters)


def test_counts_agree_with_the_architecture():
    for depth, bias in itertools.product((1, 2), (True, False)):
        one = run(depth=depth, bias=bias, width=5, d=3)
        assert parameter_count(one) == Architecture.of(one).count
        assert layer_sizes(one) == Architecture.of(one).sizes == ((3, 5, 1), (3, 5, 16, 1))[depth - 1]
        assert hidden_units(one) == (5, 21)[depth - 1]


def test_key_is_of_what_sets_the_program_and_not_of_rates_and_seeds():
    one = run(width=5)
    assert shape_key(one) == shape_key(run(width=5, lr=0.2, seed=3, data_seed=1, weight_decay=0.1))
    for other in ({"width": 6}, {"optimizer": "adam"}, {"dtype": "float32"}, {"max_steps": 7}, {"bias": False}):
        assert shape_key(one) != shape_key(run(**{"width": 5} | other))
    assert dict(zip(SHAPE_KEYS, shape_key(one), strict=True))["width"] == 5


def test_numbers_have_the_bytes_of_their_precision():
    assert [number_bytes(run(dtype=dtype)) for dtype in ("float32", "float64")] == [4, 8]


def test_memory_of_an_unknown_optimizer_is_not_guessed():
    assert [buffer_count(run(optimizer=name)) for name in ("gd", "momentum", "adam")] == [0, 1, 2]
    with pytest.raises(
        ValueError, match="optimizer = 'lion': its memory is unknown; expected one of gd, sgd, momentum"
    ):
        buffer_count(run().model_copy(update={"optimizer": "lion"}))


def test_work_grows_with_samples_weights_and_steps():
    amounts = [work(shape_key(run(n=8, width=8, max_steps=10, **more))) for more in ({}, {"depth": 2, "width2": 8})]
    assert amounts == [8 * 8 * 3 * 10, 8 * (8 * 3 + 8 * 8) * 10]
    assert work(shape_key(run(n=8, width=8, max_steps=10, optimizer="sgd", batch_size=2))) == 2 * 8 * 3 * 10
