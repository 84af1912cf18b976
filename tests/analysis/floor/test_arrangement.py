"""Arrangement: hyperplanes through data points, and the ways to split data."""

import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

from relusweep.analysis.floor import Arrangement, ArrangementError, splits

GRID = np.array(list(itertools.product([0.0, 1.0, 2.0], repeat=2)))


@pytest.mark.parametrize(("n", "d"), [(5, 1), (7, 2), (8, 3), (6, 4), (4, 5)])
def test_points_in_general_position_are_split_in_as_many_ways_as_cover_counted(n, d):
    points = np.random.default_rng(n).standard_normal((n, d))
    assert len(splits(points)) == 2 * sum(comb(n - 1, k) for k in range(d + 1))


@pytest.mark.parametrize(("n", "d"), [(6, 1), (9, 2), (8, 3)])
def test_each_hyperplane_passes_through_its_members_and_no_other_point(n, d):
    points = np.random.default_rng(d).standard_normal((n, d)) * 100 + 7
    arrangement = Arrangement.of(points)
    assert len(arrangement) == comb(n, d)
    z = arrangement.w @ points.T + arrangement.b[:, None]
    size = np.linalg.norm(arrangement.w, axis=1, keepdims=True)
    near = np.abs(z) < 1e-9 * size
    assert (near.sum(1) == d).all()
    assert np.take_along_axis(near, arrangement.members, 1).all()


def test_grid_of_nine_points_has_twenty_lines_and_each_once():
    arrangement = Arrangement.of(GRID)
    assert len(arrangement) == 20  # 8 through three points, 12 through two
    assert sorted(len(on) for on in arrangement.crowded.values()) == [3] * 8


@settings(max_examples=15, deadline=None, derandomize=True)
@given(arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 3)), elements=st.integers(0, 2).map(float)))
def test_splits_are_those_that_a_hyperplane_makes(points):
    marks = np.c_[points, np.ones(len(points))]
    made = set()
    for split in itertools.product([False, True], repeat=len(points)):
        side = np.where(split, 1.0, -1.0)[:, None] * marks
        if linprog(np.zeros(marks.shape[1]), -side, -np.ones(len(points)), bounds=(None, None)).status == 0:
            made.add(split)
    assert {tuple(row) for row in splits(points).tolist()} == made


def test_too_many_hyperplanes_are_refused_with_their_number():
    with pytest.raises(ArrangementError, match=r"n = 100, d = 5: 75,287,520 hyperplanes .* expected at most 2,000,000"):
        Arrangement.of(np.random.default_rng(0).standard_normal((100, 5)))


@pytest.mark.parametrize(("n", "d"), [(25, 784), (22, 30), (21, 20)])
def test_too_many_ways_to_tilt_are_refused_before_memory_is_asked_for(n, d):
    with pytest.raises(
        ArrangementError, match=r"hyperplanes, each with 2\^2\d ways to tilt it; expected at most 8,000,000"
    ):
        Arrangement.of(np.random.default_rng(0).standard_normal((n, d)))


def test_ways_to_tilt_are_all_there_are():
    tilts = Arrangement.of(np.random.default_rng(0).standard_normal((7, 3))).tilts
    assert tilts.tolist() == [list(way) for way in itertools.product([False, True], repeat=3)]
