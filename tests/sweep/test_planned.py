import pytest

from relusweep.sweep import planned as module
from relusweep.sweep.planned import keep, kept_ids, planned
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store

TEXT = "name = 'x'\n[[block]]\nfixed = { problem = 'sine', lr = 0.1 }\ngrid = { seed = { range = [0, 9] } }"


@pytest.fixture
def spec():
    return Spec.parse(TEXT, "x.toml")


@pytest.fixture
def store(tmp_path, spec):
    made = Store.create(tmp_path / "store")
    keep(spec, made, RunIds(run.id for run in spec.expand()))
    return made


def test_what_is_kept_is_what_expansion_gives_and_nothing_is_expanded_for_it(store, spec, monkeypatch):
    expected = {run.id for run in spec.expand()}
    monkeypatch.setattr(Spec, "expand", lambda self: pytest.fail("expanded"))
    assert set(planned(spec, store)) == expected


def test_another_spec_has_other_ids(store, spec):
    other = Spec.parse(TEXT.replace("9", "5"), "x.toml")
    assert kept_ids(other, store) is None
    assert set(planned(other, store)) == {run.id for run in other.expand()}


def test_ids_of_other_code_are_not_believed(store, spec, monkeypatch):
    monkeypatch.setattr(module, "_sources", lambda: b"other")
    assert kept_ids(spec, store) is None


def test_every_changed_bit_and_every_lost_byte_is_seen(store, spec):
    path = store.path / "planned.ids"
    content = path.read_bytes()
    for place in range(0, 8 * len(content), 7):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        assert kept_ids(spec, store) is None
    for length in range(0, len(content), 5):
        path.write_bytes(content[:length])
        assert kept_ids(spec, store) is None
    assert set(planned(spec, store)) == {run.id for run in spec.expand()}


def test_a_store_without_them_is_as_good(tmp_path, spec):
    store = Store.create(tmp_path / "older")
    assert kept_ids(spec, store) is None
    assert len(planned(spec, store)) == 9
