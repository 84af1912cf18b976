"""Ledger: one reading of `runs` answers what commands ask of it."""

import pytest

from relusweep.sweep.store import store as module
from tests.sweep.store.conftest import rows


def test_what_is_recorded_doubled_promised_and_lacking(store, monkeypatch):
    store.write("c", {"runs": rows(4, 5, moments=2) + rows(6, weights_saved=True) + rows(7, status="diverged")}, {})
    ledger = store.ledger()
    monkeypatch.setattr(module, "outcomes", lambda part: pytest.fail("read again"))
    ids = {seed: row["run_id"] for seed in range(8) for row in rows(seed)}
    assert set(ledger.recorded) == set(ids.values())
    assert ledger.doubled() == 1
    assert set(ledger.promised("trajectories")) == {ids[4], ids[5]}
    assert set(ledger.promised("weights")) == {ids[6]}
    assert ledger.lacking(moments=True, weights=True) == {"trajectories": 6, "weights": 6}
    assert ledger.lacking(moments=False, weights=False) == {}


def test_broken_parts_count_as_not_there(store):
    store.parts()[0].write_bytes(b"broken")
    assert len(store.ledger().recorded) == 2
