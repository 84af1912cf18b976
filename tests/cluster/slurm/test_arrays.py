"""Array: tasks last long enough and end in time; arrays are as large as the site allows."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relusweep.cluster.slurm.arrays import LEAST_SECONDS, ArrayTask, Bundle, Lengths, make_arrays, make_tasks, throttles
from relusweep.cluster.slurm.machine import Machine
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run

HOUR = 3600


def lengths(**machine: object) -> Lengths:
    return Lengths.on(Machine.model_validate({"time": "4:00:00"} | machine))


def bundles(*seconds: float) -> list[Bundle]:
    return [Bundle(str(number), 10, each) for number, each in enumerate(seconds)]


@given(
    st.lists(st.floats(0.01, LEAST_SECONDS), max_size=300), st.integers(1, 8), st.integers(1, 100),
    st.sampled_from(["12", "60", "2-0"]),
)  # fmt: skip
def test_every_pack_is_in_one_task_that_is_neither_too_short_nor_too_long(seconds, workers, at_one_time, time):
    given = lengths(time=time, max_array_tasks=at_one_time)
    tasks = make_tasks(bundles(*seconds), given, workers)
    assert sorted(chain.from_iterable(task.packs for task in tasks)) == list(range(len(seconds)))
    assert [task.runs for task in tasks] == [10 * len(task.packs) for task in tasks]
    assert all(task.seconds <= max(given.most, seconds[task.packs[0]]) + 1e-6 for task in tasks)
    longest, total = max(seconds, default=0.0), sum(seconds) / workers
    if longest < given.most:  # else each is alone
        assert len(tasks) <= 1 + max(1.0, total / given.aim(total), total / (given.most - longest)) + 1e-6


@given(st.lists(st.floats(1.0, 60.0), max_size=300), st.integers(1, 8), st.sampled_from(["60", "2-0"]))
def test_tasks_differ_by_a_pack_at_most(seconds, workers, time):
    tasks = make_tasks(bundles(*seconds), lengths(time=time), workers)
    sums = [sum(seconds[number] for number in task.packs) for task in tasks]
    assert max(sums, default=0.0) - min(sums, default=0.0) <= max(seconds, default=0.0) + 1e-6
    assert [task.seconds for task in tasks] == sorted((task.seconds for task in tasks), reverse=True)


def test_eight_packs_for_which_one_task_is_too_short_go_into_two_alike():
    given = lengths(time="15")
    assert given.most < 8 * 79
    assert [len(task.packs) for task in make_tasks(bundles(*[79.0] * 8), given, 1)] == [4, 4]


def test_tasks_last_ten_minutes_where_there_is_little_and_are_four_waves_where_there_is_much():
    given = lengths(max_array_tasks=10)
    few = make_tasks(bundles(*[60.0] * 100), given, 1)
    assert [task.seconds for task in few] == [600] * 10
    many = make_tasks(bundles(*[60.0] * 4000), given, 1)
    assert [task.seconds for task in many] == [6000] * 40


def test_a_thousand_gpus_are_given_enough_to_do_where_no_one_says_how_many_jobs_may_run():
    made = make_tasks(bundles(*[300.0] * 20_000), lengths(), 1)
    assert [task.seconds for task in made] == [1500] * 4000


def test_task_ends_before_its_time_limit_and_a_longer_pack_is_alone():
    given = lengths(time="60", signal_seconds=90, max_array_tasks=1)
    assert given.most == 0.8 * (HOUR - 90 - 60)
    tasks = make_tasks(bundles(*[500.0] * 40, 5000.0), given, 1)
    assert tasks[0].packs == (40,)
    assert [task.seconds for task in tasks[1:]] == [2500] * 4 + [2000] * 5


def test_dearest_packs_are_started_first():
    tasks = make_tasks(bundles(100, 700, 300, 900), lengths(), 1)
    assert [task.packs for task in tasks] == [(3,), (1,), (2, 0)]


def test_neighbours_in_the_grid_go_into_different_tasks():
    ids = [Pack((Run(problem="sine", lr=lr, seed=seed),)).id for lr in (0.1, 0.2) for seed in range(20)]
    made = make_tasks([Bundle(pack_id, 1, 60.0) for pack_id in ids], lengths(max_array_tasks=1), 1)
    rates = [{number < 20 for number in task.packs} for task in made]
    assert rates == [{True, False}] * 4


@given(st.integers(0, 5000), st.integers(1, 1001))
def test_tasks_are_dealt_to_few_arrays_that_are_alike_and_no_larger_than_allowed(tasks, largest):
    given = [ArrayTask((number,), 1, float(tasks - number)) for number in range(tasks)]
    dealt, arrays = make_arrays(given, largest)
    assert sorted(dealt, key=lambda task: task.packs) == given
    assert list(chain.from_iterable(arrays)) == list(range(tasks))
    assert len(arrays) == -(-tasks // largest)
    sizes = {len(array) for array in arrays}
    assert max(sizes, default=0) <= largest
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    for array in arrays:
        mine = [task.seconds for task in dealt[array.start : array.stop]]
        assert mine == sorted(mine, reverse=True)
    for others in zip(*(dealt[array.start : array.stop] for array in arrays), strict=False):
        assert max(each.seconds for each in others) - min(each.seconds for each in others) < len(arrays)


@pytest.mark.parametrize(
    ("arrays", "at_one_time", "shares"),
    [(3, None, [None] * 3), (1, 8, [8]), (3, 8, [3, 3, 2]), (5, 2, [1, 1, 1, 1, 1])],
)
def test_arrays_side_by_side_share_what_may_run_at_one_time(arrays, at_one_time, shares):
    assert throttles(arrays, at_one_time) == shares
