"""Submission: a folder that holds what was submitted, and what became of it."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relusweep.cluster.slurm.submission import Submission, open_submissions, submissions
from relusweep.sweep.pack import make_packs
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.run_ids import RunIds

SIX_PACKS = {"grid": "lr = [0.1, 0.2], seed = { range = [0, 10] }, lr_ratio = [1, inf]", "measure": "every = 'log:3'"}

KEYS = st.sampled_from(
    ["job", "packs", "elements", "arrays", "machine", "time", "jobs", "why", "outcomes", "error", "taken", "measure"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
JSON = VALUES.map(lambda value: json.dumps(value).encode()) | st.dictionaries(KEYS, VALUES).map(
    lambda value: json.dumps(value).encode()
) | st.binary(max_size=20) | st.just(b"[" * 10**5)  # fmt: skip


@pytest.fixture
def in_six_tasks(published):
    """Publish six tasks of one pack each, in arrays of four at most."""
    return lambda: published(7, [(number,) for number in range(6)], largest=4, **SIX_PACKS)


def test_submission_is_read_as_it_was_published(in_six_tasks, tiny):
    submission = in_six_tasks()
    packs = list(make_packs(Spec.read(tiny(**SIX_PACKS)).expand(), lambda run: 7))
    assert list(submission.packs([4, 0])) == [packs[4], packs[0]]
    assert [(bundle.pack_id, bundle.runs) for bundle in submission.bundles] == [(p.id, len(p.runs)) for p in packs]
    assert submission.run_ids == [RunIds(run.id for run in pack.runs) for pack in packs]
    assert submission.assignment.measure.every == "log:3"
    assert submission.assignment.store == submission.path.parent.parent


def test_packs_that_cannot_be_read_are_one_line(submission):
    (submission.path / "packs.parquet").write_bytes(b"damaged")
    message = (
        rf"packs\.parquet: cannot be read \(.*\); .* with relusweep-{submission.id} .*, then delete that folder\.$"
    )
    with pytest.raises(StoreError, match=message):
        list(submission.packs([0]))
    with pytest.raises(StoreError, match=message):
        submission.run_ids  # noqa: B018


def test_task_is_known_by_the_name_of_its_job(in_six_tasks):
    submission = in_six_tasks()
    assert [len(array) for array in submission.arrays] == [3, 3]
    assert submission.task_number(submission.job_name(1), 2) == 5
    assert submission.task_number(submission.job_name(1), 3) is None
    assert submission.task_number(submission.job_name("report"), 0) is None
    assert submission.task_number(submission.job_name(2), 0) is None
    assert submission.task_number("relusweep-of-another-store.0", 0) is None
    assert submission.slurm_id(5) is None
    submission.write_jobs(["12", "17"])
    assert (submission.slurm_id(1), submission.slurm_id(5)) == ("12_1", "17_2")


def test_array_of_one_is_a_plain_job(submission):
    submission.write_jobs(["12"])
    assert submission.slurm_id(0) == "12"


def test_submission_is_open_from_its_publication_to_its_end(published):
    first, second = published(), published()
    assert open_submissions(first.store) == [first, second]
    first.end("cancelled")
    assert first.ended == "cancelled"
    second.folder.remove()
    assert open_submissions(first.store) == []
    assert not second.path.exists()


def test_task_that_has_ended_leaves_a_file(in_six_tasks):
    submission = in_six_tasks()
    assert submission.ended_tasks() == set()
    submission.write_history(3, {"starts": 1})
    submission.end_task(2, {"a": ["failed", "why"]})
    assert submission.ended_tasks() == {2}
    assert submission.ending(2)["outcomes"] == {"a": ["failed", "why"]}
    assert submission.history(3) == {"starts": 1}
    assert submission.history(2) == {}


def test_files_are_named_as_ever(submission):
    submission.write_history(0, {"starts": 1})
    submission.end_task(0, {})
    submission.write_jobs(["12"])
    submission.end("cancelled")
    files = {str(path.relative_to(submission.path)) for path in submission.path.rglob("*") if path.is_file()}
    assert files == {
        "submission.json", "packs.parquet", "jobs.json", "ended.json", "elements/0.json", "elements/0.ended.json"
    }  # fmt: skip
    assert set(submission.content) == {"job", "packs", "elements", "arrays", "machine", "time"}


def test_folder_is_its_owners_alone(submission):
    folders = [submission.path.parent, submission.path, *(path for path in submission.path.iterdir() if path.is_dir())]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


@given(
    st.sampled_from(["submission.json", "jobs.json", "ended.json", "elements/0.json", "elements/0.ended.json"]), JSON
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_lies_in_its_files_it_is_described_or_refused_in_one_line(submission, name, content):
    path = submission.path / name
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    looked_at = Submission(submission.path)
    message = ""
    try:
        look(looked_at)
    except StoreError as error:
        message = str(error)
    finally:
        path.write_bytes(before) if before is not None else path.unlink()
    assert "\n" not in message
    assert bool(message) <= (name == "submission.json")


def look(submission):
    """Ask everything that commands ask."""
    assert submission.content["job"]["measure"]
    assert submission.assignment.measure
    assert submission.job_names
    assert all(number in range(len(submission.tasks)) for number in submission.ended_tasks())
    for number, task in enumerate(submission.tasks):
        history, ending = submission.history(number), submission.ending(number)
        assert [submission.bundles[pack] for pack in (*task.packs, *history.get("taken", []))]
        assert isinstance(ending.get("error", ""), str)
        assert all(len(outcome) == 2 for outcome in ending.get("outcomes", {}).values())
        submission.slurm_id(number)
    assert submission.ended is None or isinstance(submission.ended, str)
    assert submission.task_number(f"relusweep-{submission.id}.²", 0) is None


def test_names_of_strange_files_are_no_tasks(submission):
    for name in ("x", "²", "-1", "7000000000000", "99", "0.1"):
        (submission.path / "elements" / f"{name}.ended.json").touch()
    assert submission.ended_tasks() <= {0}


def test_folders_of_other_names_and_links_are_no_submissions(submission, tmp_path):
    """By a name with a comma, jobs of another sweep would be cancelled."""
    jobs = submission.path.parent
    shutil.copytree(submission.path, jobs / f"{submission.id},x")
    shutil.copytree(submission.path, tmp_path / "elsewhere")
    (jobs / "0123456789ab").symlink_to(tmp_path / "elsewhere")
    assert submissions(submission.store) == [submission]
