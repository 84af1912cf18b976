"""Brackets: which runs are asked for depends on the spec and the recorded rows alone."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relusweep.sweep.bracket import MET, Brackets
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Spec
from relusweep.sweep.spec_error import SpecError
from relusweep.sweep.store.run_ids import RunIds

BUDGET, DIVERGED = 2, 3  # as a tally counts them


def spec(grid, ratio=1.05, rounds=16, fixed="problem = 'sine'", parameter="lr", more=""):
    table = f"parameter = '{parameter}'\ncolumn = 'train_rmse'\nthreshold = 1\nratio = {ratio}\nrounds = {rounds}"
    text = f"name = 'x'\n[fixed]\n{fixed}\n[refine]\n{table}\n[[block]]\ngrid = {{ {grid} }}\n{more}"
    return Spec.parse(text, "x.toml")


def narrowed(refined, rows):
    """Look at rows, given as ends by run id, for the first time."""
    brackets = Brackets(refined, refined.refine)
    others = RunIds(run_id for run_id in rows if run_id not in brackets.planned)
    brackets.add(others.keys, np.array([rows[run_id] for run_id in others], np.uint8))
    brackets.narrow(np.array([rows.get(run_id, 0) for run_id in brackets.planned], np.uint8))
    return brackets


def end(met):
    return BUDGET | MET if met else BUDGET


def train(refined, outcome, chance=None):
    """Record all that is asked for, at once or one at a time; returns the runs that the spec does not name, in order."""
    rows = {run.id: end(outcome(run)) for run in refined.expand()}
    added = []
    while asked := list(narrowed(refined, rows).asked()):
        for run in asked if chance is None else [chance.choice(asked)]:
            rows[run.id] = end(outcome(run))
            added.append(run)
    return added


def values(runs):
    return [run.lr for run in runs]


def test_flip_asks_for_the_geometric_mean_and_for_nothing_else():
    refined = spec("lr = [0.1, 0.4, 0.8], width = [4]")
    brackets = narrowed(refined, {run.id: end(run.lr < 0.2) for run in refined.expand()})
    (run,) = brackets.asked()
    assert run == Run(problem="sine", lr=0.2, width=4)
    assert list(RunIds.of(brackets.missing)) == [run.id]
    assert brackets.count == 1


@pytest.mark.parametrize("rises", [True, False])
def test_each_round_keeps_the_half_that_holds_the_flip(rises):
    added = train(spec("lr = [0.1, 1.6]", ratio=1.3), lambda run: (run.lr > 0.5) == rises)
    assert values(added) == [0.4, 0.8, 0.565685, 0.475683]


def test_several_flips_of_a_group_are_narrowed_each():
    added = train(spec("lr = [1, 2, 4, 8, 16]", ratio=1.5), lambda run: run.lr < 1.2 or 3 < run.lr < 10)
    assert sorted(values(added)) == [1.41421, 2.82843, 11.3137]


def test_runs_are_compared_with_those_that_agree_in_all_else():
    refined = spec("lr = [0.1, 0.4], seed = [0, 1], width = [2, 3]", ratio=2.0)
    added = train(refined, lambda run: run.seed == 0 or run.lr < 0.15)
    assert {(run.lr, run.seed, run.width) for run in added} == {(0.2, 1, 2), (0.2, 1, 3)}


def test_neighbours_may_come_from_different_blocks_and_doubles_are_none():
    refined = spec("lr = [0.1, 0.4]", ratio=1.5, more="[[block]]\ngrid = { lr = [0.1, 0.2, 0.4] }")
    brackets = narrowed(refined, {run.id: end(run.lr < 0.15) for run in refined.expand()})
    assert (len(brackets.planned), values(brackets.asked())) == (3, [0.141421])


def test_missing_run_holds_up_its_neighbours_only():
    refined = spec("lr = [1, 2, 4, 8, 16]")
    rows = {run.id: end(run.lr < 1.5 or run.lr > 10) for run in refined.expand()}
    gone = Run(problem="sine", lr=2.0).id
    assert values(narrowed(refined, rows).asked()) == [1.41421, 11.3137]
    assert values(narrowed(refined, rows | {gone: 0}).asked()) == [11.3137]


def test_divergence_is_an_outcome():
    refined = spec("lr = [0.1, 0.4]")
    low, high = refined.expand()
    assert values(narrowed(refined, {low.id: end(True), high.id: DIVERGED}).asked()) == [0.2]
    assert values(narrowed(refined, {low.id: end(False), high.id: DIVERGED}).asked()) == []


def test_values_that_are_near_enough_ask_for_nothing():
    assert not train(spec("lr = [0.1, 0.11]", ratio=1.11), lambda run: run.lr < 0.105)
    assert train(spec("lr = [0.1, 0.11]", ratio=1.09), lambda run: run.lr < 0.105)


def test_rounds_end_though_the_ratio_is_not_reached():
    assert len(train(spec("lr = [0.1, 0.9]", ratio=1.0001, rounds=3), lambda run: run.lr < 0.5)) == 3


def test_rows_that_no_one_asks_for_change_nothing():
    refined = spec("lr = [0.1, 1.6]")
    rows = {run.id: end(run.lr < 0.5) for run in refined.expand()}
    earlier = {Run(problem="sine", lr=lr).id: end(True) for lr in (0.2, 0.3, 0.8)}
    assert values(narrowed(refined, rows | earlier).asked()) == [0.4]


def test_what_is_forgotten_is_found_again():
    refined = spec("lr = [0.1, 1.6]")
    rows = {run.id: end(run.lr < 0.5) for run in refined.expand()}
    brackets = narrowed(refined, rows)
    before = brackets.missing.tolist()
    brackets.forget()
    assert (brackets.count, len(brackets.missing)) == (0, 0)
    brackets.narrow(np.array([rows[run_id] for run_id in brackets.planned], np.uint8))
    assert brackets.missing.tolist() == before


def test_runs_to_which_the_parameter_does_not_apply_are_left_as_they_are():
    more = "[[block]]\nfixed = { optimizer = 'gd' }\ngrid = { seed = [0, 1] }"
    fixed = "problem = 'sine'\nlr = 0.1"
    grid = "optimizer = ['momentum'], momentum = [0.1, 0.9]"
    refined = spec(grid, fixed=fixed, parameter="momentum", more=more)
    asked = narrowed(refined, {run.id: end(run.momentum == 0.1 or run.seed) for run in refined.expand()}).asked()
    assert [run.momentum for run in asked] == [0.3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"grid": "lr = [0.1], seed = [0, 1]"}, "x.toml: refine.parameter = 'lr': no two runs differ in it alone; expected some to start from. Give it an axis"),
        ({"grid": "lr = [0.1]", "more": "[[block]]\ngrid = { lr = [0.2], seed = [1] }"}, "no two runs differ in it alone"),
        ({"grid": "lr = [0.1], noise = [0, 0.1]", "parameter": "noise"}, "x.toml: refine.parameter = 'noise': a run has noise = 0.0; expected finite values above 0"),
        ({"grid": "lr = [0.1], lr_ratio = [1, inf]", "parameter": "lr_ratio"}, "a run has lr_ratio = inf; expected finite .* Leave that value out."),
    ],
)  # fmt: skip
def test_runs_that_cannot_be_bisected_are_refused(given, message):
    with pytest.raises(SpecError, match=message):
        Brackets.of(spec(**given))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    ends=st.tuples(st.floats(1e-6, 1e6), st.floats(1.2, 1e4)),
    where=st.floats(0.001, 0.999),
    ratio=st.floats(1.001, 1.5),
)
def test_bisection_finds_a_planted_threshold_in_as_few_runs_as_foreseen(ends, where, ratio):
    low, high = ends[0], ends[0] * ends[1]
    planted = low * ends[1] ** where
    refined = spec(f"lr = [{low!r}, {high!r}]", ratio=ratio, rounds=64)
    added = values(train(refined, lambda run: run.lr <= planted))
    below = max([low, *(lr for lr in added if lr <= planted)])
    above = min([high, *(lr for lr in added if lr > planted)])
    assert below <= planted <= above <= ratio * below
    halvings = math.log2(max(1, math.log(ends[1]) / math.log(ratio)))
    ((_, foreseen, is_first),) = Brackets(refined, refined.refine).to_follow()
    assert len(added) <= foreseen <= math.ceil(halvings + 0.02)
    assert is_first


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), met=st.lists(st.booleans(), min_size=8, max_size=8))
def test_whatever_is_recorded_first_the_same_runs_are_asked_for_and_never_more_than_foreseen(seed, met):
    refined = spec("lr = [1, 2, 4, 8], seed = [0, 1]", ratio=1.2)

    def outcome(run):
        return met[int(2 * math.log2(run.lr) + run.seed) % 8]

    at_once, one_by_one = train(refined, outcome), train(refined, outcome, random.Random(seed))
    assert {run.id for run in at_once} == {run.id for run in one_by_one}
    rows = [(run.id, end(outcome(run))) for run in (*refined.expand(), *at_once)]
    random.Random(seed).shuffle(rows)
    before, foreseen = set(), []
    for many in range(len(rows) + 1):
        recorded = dict(rows[:many])
        brackets = narrowed(refined, recorded)
        pending = set(RunIds.of(brackets.missing))
        assert before <= pending | recorded.keys()  # more rows never ask for fewer runs
        assert pending <= {run.id for run in at_once}
        foreseen.append(brackets.count + sum(most for _, most, _ in brackets.to_follow()))
        before = pending
    assert foreseen == sorted(foreseen, reverse=True)
    assert foreseen[-1] == brackets.count == len(at_once)
