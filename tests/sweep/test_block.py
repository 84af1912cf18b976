import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relusweep.sweep.block import MAX_RUNS, RawBlock, lay_out
from relusweep.sweep.sources import Sources
from relusweep.sweep.spec import Spec
from relusweep.sweep.spec_error import SpecError

HEAD = "name = 'x'\nfixed = { problem = 'sine', lr = 0.1 }\n[[block]]\n"
WHOLE = st.integers(-50, 50)


@given(st.lists(WHOLE, min_size=2, max_size=3).filter(lambda numbers: 0 not in numbers[2:]))
@settings(max_examples=200, deadline=None)
def test_a_range_is_counted_as_python_does(numbers):
    assert RawBlock(grid={"seed": {"range": numbers}}).count == len(range(*numbers))


@given(
    st.lists(WHOLE, min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 3),
)
@settings(max_examples=50, deadline=None)
def test_a_block_has_as_many_runs_as_were_counted_and_each_at_its_position(seeds, linear, drawn):
    raw = RawBlock(
        grid={"seed": sorted({abs(seed) for seed in seeds}), "lr_ratio": {"linear": [1.0, 2.0, linear]}},
        zip={"width": [2, 3], "d": [1, 2]},
        random={"count": drawn, "data_seed": {"integers": [0, 10**6]}},
    )
    block = lay_out({"problem": "sine", "lr": 0.1}, raw, "here", Sources(Path()))
    found = list(block.expand())
    assert len(found) == len({run.id for run in found}) == len(block) == raw.count
    assert [block.run(position).id for position in range(len(block))] == [run.id for run in found]


@pytest.mark.parametrize(
    ("axes", "runs"),
    [
        (["range = [0, 10000]"] * 5, "more than 10^18 runs"),
        (["range = [0, 10000000]"] * 3, "more than 10^18 runs"),
        (["range = [0, 10000000]"] * 2, "100,000,000,000,000 runs"),
        (["range = [-9223372036854775807, 9223372036854775807]"], "more than 10^18 runs"),
        (["range = [0, 9223372036854775807, 3]"], "more than 10^18 runs"),
        (["linear = [0, 1, 10000000]", "log = [1, 2, 10000000]"], "100,000,000,000,000 runs"),
        (["range = [0, 10000000]"] * 500, "more than 10^18 runs"),
    ],
)
def test_too_many_runs_are_refused_before_any_is_laid_out(axes, runs):
    keys = [f"key{index}" for index in range(len(axes))]
    lines = "\n".join(f"grid.{key} = {{ {axis} }}" for key, axis in zip(keys, axes, strict=True))
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(SpecError) as caught:
        Spec.parse(HEAD + lines, "x.toml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value) == f"x.toml: {runs}; expected at most {MAX_RUNS:,}. Thin out an axis."
    assert time.monotonic() - started < 5
    assert peak < 2**24


@pytest.mark.slow
def test_an_axis_takes_two_hundred_bytes_a_value_at_most():
    tracemalloc.start()
    Spec.parse(HEAD + "grid = { lr_ratio = { linear = [0.0, 1.0, 100000] } }", "x.toml")
    held, _ = tracemalloc.get_traced_memory()
    Spec.parse(HEAD + "grid = { seed = { range = [0, 10000000] } }", "x.toml")
    assert tracemalloc.get_traced_memory()[0] < held + 2**24, "a range is not laid out at all"
    tracemalloc.stop()
    assert held < 2 * 10**7


@pytest.mark.slow
def test_long_values_are_shown_by_their_beginning():
    with pytest.raises(SpecError) as caught:
        Spec.parse(HEAD + f"grid = {{ width = '{'x' * 10**6}' }}", "x.toml")
    assert len(str(caught.value)) < 300
    with pytest.raises(SpecError) as caught:
        Spec.parse(HEAD + f"grid = {{ width = {{ log = {list(range(10**5))} }} }}", "x.toml")
    assert len(str(caught.value)) < 300


def test_data_sets_of_own_functions_are_named_once_and_in_bounded_number(tmp_path):
    (tmp_path / "my.py").write_text("")
    fixed = {"problem": "python", "target": "my.py:f", "width2": 3, "target.a": 1}
    grid = {"depth": [2], "lr": [0.1, 0.2], "data_seed": {"range": [0, 10_000_000]}}
    block = lay_out(fixed, RawBlock(grid=grid), "here", Sources(tmp_path))
    tracemalloc.start()
    found = list(block.of_own_functions(5))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [run.data_seed for run in found] == [0, 1, 2, 3, 4]
    assert {run.target_arguments for run in found} == {'{"a":1}'}
    assert peak < 2**20
    sine = lay_out({"problem": "sine", "lr": 0.1}, RawBlock(), "here", Sources(tmp_path))
    assert not list(sine.of_own_functions(5))
