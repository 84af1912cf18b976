"""Array: elements last long enough and end in time; arrays are as large as the site allows."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.array import LEAST_SECONDS, Lengths, make_arrays, make_elements, throttles
from cluster.machine import Machine
from cluster.submission import Bundle

HOUR = 3600


def lengths(**machine: object) -> Lengths:
    return Lengths.on(Machine.model_validate({"time": "4:00:00"} | machine))


def bundles(*seconds: float) -> list[Bundle]:
    return [Bundle(str(number), 10, each) for number, each in enumerate(seconds)]


@given(
    st.lists(st.floats(0.01, LEAST_SECONDS), max_size=300), st.integers(1, 8), st.integers(1, 100),
    st.sampled_from(["12", "60", "2-0"]),
)  # fmt: skip
def test_every_pack_is_in_one_element_that_is_neither_too_short_nor_too_long(seconds, workers, at_one_time, time):
    given = lengths(time=time, max_array_tasks=at_one_time)
    elements = make_elements(bundles(*seconds), given, workers)
    assert sorted(chain.from_iterable(element.packs for element in elements)) == list(range(len(seconds)))
    assert [element.runs for element in elements] == [10 * len(element.packs) for element in elements]
    assert all(element.seconds <= max(given.most, seconds[element.packs[0]]) for element in elements)
    longest = max(seconds, default=0.0)
    enough = min(given.least, given.most - longest) - 1e-6
    assert all(element.seconds >= enough for element in elements[:-1])


def test_elements_last_ten_minutes_where_there_is_little_and_are_four_waves_where_there_is_much():
    given = lengths(max_array_tasks=10)
    few = make_elements(bundles(*[60.0] * 100), given, 1)
    assert [element.seconds for element in few] == [600] * 10
    many = make_elements(bundles(*[60.0] * 4000), given, 1)
    assert [element.seconds for element in many] == [6000] * 40


def test_element_ends_before_its_time_limit_and_a_longer_pack_is_alone():
    given = lengths(time="60", signal_seconds=90, max_array_tasks=1)
    assert given.most == 0.8 * (HOUR - 90)
    elements = make_elements(bundles(*[500.0] * 20, 5000.0), given, 1)
    assert elements[0].packs == (20,)
    assert {element.seconds for element in elements[1:]} == {2500}


def test_dearest_packs_are_started_first():
    elements = make_elements(bundles(100, 700, 300, 900), lengths(), 1)
    assert [element.packs for element in elements] == [(3,), (1,), (2, 0)]


@given(st.integers(0, 5000), st.integers(1, 1001))
def test_arrays_are_few_even_and_no_larger_than_allowed(elements, largest):
    arrays = make_arrays(elements, largest)
    assert list(chain.from_iterable(arrays)) == list(range(elements))
    assert len(arrays) == -(-elements // largest)
    sizes = {len(array) for array in arrays}
    assert max(sizes, default=0) <= largest
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


@pytest.mark.parametrize(
    ("arrays", "at_one_time", "shares"),
    [(3, None, [None] * 3), (1, 8, [8]), (3, 8, [3, 3, 2]), (5, 2, [1, 1, 1, 1, 1])],
)
def test_arrays_side_by_side_share_what_may_run_at_one_time(arrays, at_one_time, shares):
    assert throttles(arrays, at_one_time) == shares
