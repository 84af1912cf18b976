"""Submission: a folder that says what was submitted, and what became of it."""

import math
import subprocess
import sys
import time

import pytest

from relusweep.cluster.backend import Job
from relusweep.cluster.slurm.arrays import make_arrays
from relusweep.cluster.slurm.submission import Draft, Element, open_submissions
from relusweep.sweep.pack import make_packs
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store


@pytest.fixture
def packs(tiny):
    spec = Spec.read(tiny(grid="lr = [0.1, 0.30000000000000004], seed = { range = [0, 10] }, lr_ratio = [1, inf]"))
    return list(make_packs(spec.expand(), lambda run: 7))


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "store")


@pytest.fixture
def drafted(store, packs, tiny):
    def make(elements=None):
        draft = Draft(store)
        draft.take((pack, 2.0 * len(pack.runs)) for pack in packs)
        elements = elements or [Element((number,), len(pack.runs), 1.0) for number, pack in enumerate(packs)]
        job = Job(store.path, Spec.read(tiny(measure="every = 'log:3'")).measure, "slurm", 60.0)
        return draft.publish(elements, make_arrays(elements, 4)[1], job, {"time": time.time(), "machine": {}})

    return make


def test_packs_come_back_run_by_run_and_only_those_asked_for(drafted, packs, tiny):
    submission = drafted()
    assert list(submission.packs([4, 0])) == [packs[4], packs[0]]
    assert {run.lr_ratio for pack in submission.packs(range(6)) for run in pack.runs} == {1.0, math.inf}
    assert [(bundle.pack_id, bundle.runs) for bundle in submission.bundles] == [(p.id, len(p.runs)) for p in packs]
    assert submission.run_ids == [RunIds(run.id for run in pack.runs) for pack in packs]
    assert submission.job.measure.every == "log:3"
    assert submission.job.store == submission.path.parent.parent


def test_packs_that_cannot_be_read_are_one_line(drafted):
    submission = drafted()
    (submission.path / "packs.parquet").write_bytes(b"damaged")
    message = (
        rf"packs\.parquet: cannot be read \(.*\); .* with relusweep-{submission.id} .*, then delete that folder\.$"
    )
    with pytest.raises(StoreError, match=message):
        list(submission.packs([0]))
    with pytest.raises(StoreError, match=message):
        submission.run_ids  # noqa: B018


def test_packs_take_little_room(store):
    spec = Spec.parse(
        "name = 'many'\n[[block]]\nfixed = { problem = 'sine' }\n"
        "grid = { lr = { log = [0.01, 0.1, 100] }, seed = { range = [0, 100] } }", "many",
    )  # fmt: skip
    draft = Draft(store)
    draft.take((pack, 1.0) for pack in make_packs(spec.expand(), lambda run: 2500))
    size = (draft.submission.path / "packs.parquet").stat().st_size
    assert size < 40 * 10_000  # bytes, of 10,000 runs: the ids cannot be compressed below 16


def test_element_is_known_by_the_name_of_its_job(drafted):
    submission = drafted()
    assert [len(array) for array in submission.arrays] == [3, 3]
    assert submission.element_of(submission.job_name(1), 2) == 5
    assert submission.element_of(submission.job_name(1), 3) is None
    assert submission.element_of(submission.job_name("report"), 0) is None
    assert submission.element_of(submission.job_name(2), 0) is None
    assert submission.element_of("relusweep-of-another-store.0", 0) is None
    assert submission.task_of(5) is None
    submission.write_jobs(["12", "17"])
    assert (submission.task_of(1), submission.task_of(5)) == ("12_1", "17_2")


def test_array_of_one_is_a_plain_job(drafted, packs):
    submission = drafted([Element(tuple(range(len(packs))), 40, 1.0)])
    submission.write_jobs(["12"])
    assert submission.task_of(0) == "12"


def test_submission_is_open_from_its_publication_to_its_end(store, drafted):
    assert open_submissions(store) == []
    draft = Draft(store)
    with draft.submission.being_submitted():
        draft.take([])
        assert open_submissions(store) == []
    first, second = drafted(), drafted()
    assert open_submissions(store) == [first, second]
    first.end("cancelled")
    assert first.ended == "cancelled"
    second.remove()
    assert open_submissions(store) == []
    assert not second.path.exists()


def test_draft_of_a_killed_launcher_is_removed_by_the_next_one_and_that_of_a_living_is_not(store, drafted):
    code = """
import os, sys
from pathlib import Path
from relusweep.cluster.slurm.submission import Draft
from relusweep.sweep.store.store import Store
draft = Draft(Store(Path(sys.argv[1])))
with draft.submission.being_submitted():
    draft.take([])
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code, store.path], check=False)
    (left,) = (store.path / "jobs").iterdir()
    assert (store.path / "claims" / f"{left.name}.json").exists()
    others = {store.path / "jobs" / name for name in (".nfs0001", "notes")}
    for other in others:
        other.touch()
    living = Draft(store)
    with living.submission.being_submitted():
        living.take([])
        submission = drafted()
        assert {*(store.path / "jobs").iterdir()} == {living.submission.path, submission.path} | others
        assert [path.stem for path in (store.path / "claims").glob("*.json")] == [living.submission.id]


def test_element_that_has_ended_says_so_by_a_file(drafted):
    submission = drafted()
    assert submission.ends() == set()
    submission.write_account(3, {"starts": 1})
    submission.end_element(2, {"a": ["failed", "why"]})
    assert submission.ends() == {2}
    assert submission.end_of(2)["outcomes"] == {"a": ["failed", "why"]}
    assert submission.account_of(3) == {"starts": 1}
    assert submission.account_of(2) == {}


def test_folder_is_its_owners_alone(drafted):
    submission = drafted()
    folders = [submission.path.parent, submission.path, *(path for path in submission.path.iterdir() if path.is_dir())]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}
