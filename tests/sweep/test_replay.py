"""Replay: which recorded run is meant, what it differs in when it is trained again, and its export."""

import math

import pytest

from relusweep.sweep.record import CIRCUMSTANCES, RESULTS
from relusweep.sweep.replay import difference, find, recorded_run, train_alone, write_npz
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.store import Store

RUNS = [Run.model_validate({"problem": "sine", "lr": 0.1, "seed": seed}) for seed in range(3)]


def row(run, **columns):
    return run.model_dump() | {"run_id": run.id, "status": "budget", "loss": 0.5} | columns


@pytest.fixture
def store(tmp_path):
    made = Store.create(tmp_path / "store")
    made.write("a", {"runs": [row(RUNS[0]), row(RUNS[1])]}, {})
    made.write("b", {"runs": [row(RUNS[1]), row(RUNS[2], status="diverged", loss=None, steps=7)]}, {})
    return made


def test_run_is_found_by_the_beginning_of_its_id_though_two_packs_recorded_it(store):
    for run in RUNS:
        assert find(store, run.id)["seed"] == run.seed
        assert find(store, run.id[:12])["run_id"] == run.id


@pytest.mark.parametrize(("begins", "what"), [("xyz", "no recorded run"), ("", "3 recorded runs")])
def test_beginning_of_no_id_or_of_several_is_refused(store, begins, what):
    with pytest.raises(StoreError, match=f"store: {what} with an id that begins with '{begins}'; expected exactly one"):
        find(store, begins)


def test_recorded_run_is_the_run_that_was_planned(store):
    assert [recorded_run(find(store, run.id)) for run in RUNS] == RUNS


@pytest.mark.parametrize("use", ["train", "export"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 99}, "its parameters give the id [0-9a-f]{32}; expected the same. Broken row"),
        (
            {"noise": None},
            r"its recorded parameters are not those of a run \(noise\); expected what .relusweep run. writes",
        ),
        ({"momentum": 0.5}, r"not those of a run \(momentum = 0.5; it needs optimizer = 'momentum'"),
    ],
    ids=["another id", "type", "combination"],
)
def test_row_whose_parameters_are_not_those_of_its_id_is_refused(store, tmp_path, monkeypatch, use, change, message):
    spoiled = find(store, RUNS[0].id) | change
    with pytest.raises(StoreError, match=f"^run {RUNS[0].id}: .*{message}"):
        if use == "train":
            train_alone(store, spoiled, Measure(), print)
        else:
            monkeypatch.setattr("relusweep.sweep.replay.find", lambda *_: spoiled)
            write_npz(store, RUNS[0].id, tmp_path / "run.npz", print)
    assert not (tmp_path / "run.npz").exists()


def test_difference_is_relative_and_of_what_the_run_itself_determines():
    old = row(RUNS[0], **dict.fromkeys(RESULTS) | {"run_id": "x", "status": "budget", "steps": 4, "loss": 0.5})
    new = old | {"loss": 0.75, "steps": 4, "seconds": 9.0, "device": "gpu", "sharpness": 2.0}
    found = {name: (before, after, gap) for name, before, after, gap in difference(old, new)}
    assert found.keys() == set(RESULTS) - set(CIRCUMSTANCES) - {"run_id"}
    assert found["loss"] == (0.5, 0.75, 0.5)
    assert found["steps"] == (4, 4, 0.0)
    assert found["status"] == ("budget", "budget", None)
    assert found["sharpness"] == (None, 2.0, None)  # the recorded version did not measure it


@pytest.mark.parametrize(("before", "after", "gap"), [(0.0, 0.0, 0.0), (0.0, 1e-300, math.inf), (-2.0, -1.0, 0.5)])
def test_difference_to_zero_is_none_or_infinite(before, after, gap):
    ((*_, found),) = difference({"loss": before}, {"loss": after})
    assert found == gap


def test_export_of_what_has_no_weights_or_no_name_is_refused(store, tmp_path):
    with pytest.raises(StoreError, match=r"run\.txt: expected a name that ends in \.npz"):
        write_npz(store, RUNS[0].id, tmp_path / "run.txt", print)
    with pytest.raises(
        StoreError, match=f"run {RUNS[2].id}: it diverged after 7 steps; there are no weights to export"
    ):
        write_npz(store, RUNS[2].id, tmp_path / "run.npz", print)
    assert not (tmp_path / "run.npz").exists()
