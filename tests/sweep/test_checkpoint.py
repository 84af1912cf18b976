"""Checkpoint: read without trust. Whatever lies there, nothing is executed, no row is wrong, and training goes on."""

import errno
import io
import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relusweep.sweep.checkpoint import load_checkpoint, write_checkpoint
from relusweep.sweep.execute import Interrupted, execute
from relusweep.sweep.pack import Pack
from relusweep.sweep.record import MOMENT_MEASURES
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.small_file import content_of

CPU = torch.device("cpu")
SHAPE = {"problem": "sine", "d": 2, "n": 4, "n_test": 0, "width": 2, "max_steps": 400, "tolerance": 0.0}
PACK = Pack(tuple(Run.model_validate(SHAPE | {"lr": lr}) for lr in (0.1, 1e160, 0.2)))  # the second diverges
MEASURE = Measure(every="log:3", save_weights=True)


def trained(checkpoint, until=None):
    def stop(progress):
        if until is not None and progress.step >= until:
            raise Interrupted

    return execute(PACK, MEASURE, CPU, "test", checkpoint=checkpoint, heartbeat=stop)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "pack.pt"
    with pytest.raises(Interrupted):
        trained(path, until=210)
    return path.read_bytes()


def test_no_flipped_bit_goes_unnoticed(state, tmp_path):
    """torch reads changed numbers without a word: 275 of 300 flips went into rows before there was a hash."""
    path, chance = tmp_path / "pack.pt", random.Random(0)
    for place in chance.sample(range(len(state) - 32), 150):
        damaged = bytearray(state)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        assert load_checkpoint(path) is None, place
    for end in chance.sample(range(len(state) - 32), 50):
        path.write_bytes(state[:end])
        assert load_checkpoint(path) is None, end
    path.write_bytes(state)
    assert load_checkpoint(path) is not None


def test_state_as_torch_wrote_it_for_earlier_versions_is_read(state, tmp_path):
    path = tmp_path / "pack.pt"
    path.write_bytes(state[:-32])
    assert load_checkpoint(path)["training"]["ids"]


def test_state_that_would_fill_the_memory_is_not_unpacked(tmp_path):
    """What torch writes is not compressed: a gigabyte of zeros in a megabyte is none of its files."""
    path, content = tmp_path / "pack.pt", io.BytesIO()
    write_checkpoint(path, {"training": {"step": 0, "cursor": 0, "ids": []}, "zeros": torch.zeros(10**6)})
    assert load_checkpoint(path) is not None
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for each in whole.infolist():
            packed.writestr(each.filename, whole.read(each))
    path.write_bytes(content.getvalue())
    assert load_checkpoint(path) is None


def test_numbers_that_are_repeated_for_ever_are_no_state(tmp_path):
    """A tensor says how often a number of the file is its own: sixteen gigabytes in a kilobyte."""
    path, plain = tmp_path / "pack.pt", {"step": 0, "cursor": 0, "ids": []}
    many = torch.zeros(1, dtype=torch.float64).expand(2, 10**9)
    for hidden in (many, [many], {"deep": ({"deeper": [0, many]},)}):
        write_checkpoint(path, {"training": plain | {"state": hidden}})
        assert load_checkpoint(path) is None
    write_checkpoint(path, {"training": plain | {"state": torch.zeros(3).expand(1, 3)}})
    assert load_checkpoint(path) is not None


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOMEM])
def test_state_that_the_file_system_refuses_is_asked_for_again_and_not_taken_for_damaged(tmp_path, monkeypatch, number):
    path, left = tmp_path / "pack.pt", [2]
    write_checkpoint(path, {"training": {"step": 0, "cursor": 0, "ids": []}})

    def refusing(path, most):
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(number, os.strerror(number))
        return content_of(path, most)

    monkeypatch.setattr("relusweep.sweep.checkpoint.content_of", refusing)
    monkeypatch.setattr("relusweep.sweep.store.small_file._WAITS", (0.0, 0.0, 0.0))
    assert load_checkpoint(path) is not None
    left[0] = 9
    with pytest.raises(
        StoreError, match=rf"pack.pt: cannot be read \({os.strerror(number)}\); expected a file that can"
    ):
        load_checkpoint(path)
    assert path.exists()


def test_what_is_no_file_is_no_state(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "device.pt").symlink_to("/dev/zero")
    assert [load_checkpoint(path) for path in tmp_path.iterdir()] == [None] * 3


def test_code_in_a_state_is_not_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"format": 2, "training": Bomb()}, tmp_path / "zip.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"format": 2, "training": Bomb()}))
    assert load_checkpoint(tmp_path / "zip.pt") is load_checkpoint(tmp_path / "old.pt") is None
    assert not (tmp_path / "ran").exists()


def test_moments_of_a_version_with_fewer_measures_are_gone_on_from(state, tmp_path):
    """A state is worth hours; a measure that it does not know is null at the moments that have passed."""
    path = tmp_path / "pack.pt"
    path.write_bytes(state)
    saved = load_checkpoint(path)
    before = saved["harvest"]["moments"]
    assert before
    saved["harvest"]["moments"] = [(step, at, numbers[:-1]) for step, at, numbers in before]
    write_checkpoint(path, saved)
    last, steps = MOMENT_MEASURES[-1], [step for step, *_ in before]
    rows = trained(path)["trajectories"].to_pylist()
    assert {row["step"] for row in rows} > {*steps}
    assert all((row[last] is None) == (row["step"] in steps) for row in rows)


PLACES = [
    ("measure",), ("handled",), ("seconds",), ("harvest",), ("runs",), ("training", "step"), ("training", "cursor"),
    ("training", "ids"), ("training", "state"), ("training", "state", "theta"), ("training", "state", "position"),
    ("training", "state", "passes"), ("harvest", "runs"), ("harvest", "moments"), ("harvest", "weights"),
    ("harvest", "runs", 0), ("harvest", "runs", 0, "status"), ("harvest", "runs", 0, "run_id"),
    ("harvest", "runs", 0, "steps"), ("harvest", "moments", 0), ("harvest", "moments", 0, 1),
    ("harvest", "moments", 0, 2), ("harvest", "weights", 0, 1),
]  # fmt: skip
VALUES = st.sampled_from(
    [
        None, -1, 7, 10**9, 2**70, 0.5, float("nan"), "x", [], [1], ["x", 1], {}, {"a": 1}, torch.zeros(0),
        torch.zeros(2), torch.zeros(2, 9), torch.full((2,), 10**6), torch.zeros(2, dtype=torch.int64),
        torch.zeros(1, dtype=torch.float64).expand(2, 10**9),
    ]
)  # fmt: skip


def replaced(within, place, value):
    if not place:
        return value
    if isinstance(within, dict):
        return within | {place[0]: replaced(within[place[0]], place[1:], value)}
    if place[0] >= len(within):
        return within
    first, last = within[: place[0]], within[place[0] + 1 :]
    return [*first, replaced(within[place[0]], place[1:], value), *last]


@pytest.mark.slow
@given(st.sampled_from(PLACES), VALUES)
@settings(max_examples=40, deadline=None)
def test_a_state_with_any_value_anywhere_is_gone_on_from_or_left(state, tmp_path_factory, place, value):
    """Whatever a state says, each run has one row, with the moments and weights that it promises."""
    path = tmp_path_factory.mktemp("any") / "pack.pt"
    path.write_bytes(state)
    saved = load_checkpoint(path)
    write_checkpoint(path, replaced(saved, place, value))
    if load_checkpoint(path) is None:
        return
    tables = trained(path)
    assert sorted(tables["runs"]["run_id"].to_pylist()) == sorted(run.id for run in PACK.runs)
    assert set(tables["trajectories"]["run_id"].to_pylist()) <= {run.id for run in PACK.runs}
