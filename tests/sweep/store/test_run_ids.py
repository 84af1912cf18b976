"""Ids: sets of run ids behave as Python's own sets of text do."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relusweep.sweep.store.run_ids import MergedIds, RunIds, keys_of

# few digits, so that ids meet, and zeros at both ends, which text of fixed length would lose
run_ids = st.lists(st.sampled_from(["00", "01", "7f", "80", "ff"]), min_size=2, max_size=2).map(
    lambda ends: ends[0] + "00" * 14 + ends[1]
)
some = st.sets(run_ids)


@given(some, some)
def test_run_ids_are_a_set(one, other):
    mine, theirs = RunIds(one), RunIds(other)
    assert mine == one
    assert list(mine) == sorted(one)
    assert mine - theirs == mine - other == one - other
    assert (mine <= theirs) == (one <= theirs) == (one <= other)
    assert mine | theirs == one | other
    assert RunIds.of(mine.keys, theirs.keys) == one | other
    assert [name in mine for name in other] == [name in one for name in other]


@given(some, st.lists(run_ids))
def test_many_are_looked_up_at_once(known, asked):
    keys = np.frombuffer(bytes.fromhex("".join(asked)), "S16") if asked else np.zeros(0, "S16")
    places, found = RunIds(known).find(keys)
    assert found.tolist() == [name in known for name in asked]
    assert [sorted(known)[place] for place in places[found]] == [name for name in asked if name in known]


@given(st.lists(some))
def test_ids_that_grow_remember_all(batches):
    merged, all_of_them = MergedIds(), set()
    for batch in batches:
        merged.add(RunIds(batch))
        all_of_them |= batch
    assert merged.among(all_of_them | {"ab" * 16}) == all_of_them


@pytest.mark.parametrize("text", ["", "ab", "ab" * 17, "xy" * 16])
def test_what_is_no_run_id_is_in_no_set(text):
    assert text not in RunIds(["ab" * 16])


def test_column_of_run_ids_is_read_in_its_order():
    ids = ["ff" * 16, "00" * 16, "0a" * 16]
    assert keys_of(pa.chunked_array([ids[:1], ids[1:]])).tobytes().hex() == "".join(ids)


@pytest.mark.parametrize("ids", [["ab"], [None], ["xy" * 16], [" " * 32]])
def test_column_of_something_else_is_refused(ids):
    with pytest.raises(ValueError, match=r"run_id|hexadecimal|element size"):
        keys_of(pa.chunked_array([ids], pa.string()))


@pytest.mark.parametrize("ids", [["ab" * 15 + "a", "ab" * 16 + "a"], ["", "ab" * 32], ["ab" * 15 + " a", "b" * 32]])
def test_column_whose_ids_would_run_into_each_other_is_refused(ids):
    with pytest.raises(ValueError, match=r"run_id|hexadecimal"):
        keys_of(pa.chunked_array([ids], pa.string()))
