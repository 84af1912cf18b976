"""The depth study as a whole: it forgets the order of runs."""

import pytest


@pytest.mark.slow
def test_order_of_the_runs_leaves_no_trace(studied, both):
    rows = [*both([0.9, 0.4, 0.9, 1.5]), *both(0.9, optimizer="sgd")]
    one, other = studied(rows, name="one"), studied(rows[::-1], name="other")
    assert one.verdicts == other.verdicts
    assert all(one.tables[key].equals(other.tables[key]) for key in one.tables)
