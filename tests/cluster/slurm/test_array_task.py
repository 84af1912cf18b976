"""Element: trains what is left of its packs, gives up only where it gets no further, and insists on its GPUs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from relusweep.cluster import worker
from relusweep.cluster.backend import ATTEMPTS, BackendError, Job
from relusweep.cluster.slurm import array_task
from relusweep.cluster.slurm.array_task import IDLE_STARTS, _Account, _train, steps_taken, workers_here
from relusweep.cluster.slurm.submission import Draft, Element
from relusweep.sweep.pack import make_packs
from relusweep.sweep.spec import Measure, Spec
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.lease import EXPIRY_SECONDS
from relusweep.sweep.store.store import Store

CORES = {"gpus_per_job": 0, "cpus_per_task": 1, "time": "1-0"}


@pytest.fixture
def submission(tiny, tmp_path):
    """One element of two packs of two runs."""
    store = Store.create(tmp_path / "store")
    draft = Draft(store)
    packs = make_packs(Spec.read(tiny(max_steps=200)).expand(), lambda run: 2)
    draft.take((pack, 1.0) for pack in packs)
    job = Job(store.path, Measure(), "slurm", 60.0)
    return draft.publish([Element((0, 1), 4, 2.0)], [range(1)], job, {"time": time.time(), "machine": CORES})


@pytest.fixture
def two(tiny, tmp_path):
    """Two elements of two packs of two runs, each pack of so many seconds at most."""

    def make(seconds=1.0):
        store = Store.create(tmp_path / "store")
        draft = Draft(store)
        spec = Spec.read(tiny(grid="lr = [0.05, 0.1], seed = { range = [0, 4] }", max_steps=20_000, tolerance=0.0))
        draft.take((pack, seconds) for pack in make_packs(spec.expand(), lambda run: 2))
        elements = [Element((0, 1), 4, 2.0), Element((2, 3), 4, 2.0)]
        told = {"time": time.time(), "machine": CORES}
        return draft.publish(elements, [range(2)], Job(store.path, Measure(), "slurm", 60.0), told)

    return make


def record(submission, *runs):
    rows = [run.model_dump() | {"run_id": run.id, "status": "budget"} for run in runs]
    submission.store.write(f"by-others-{runs[0].id}", {"runs": rows}, {})


def write_state(submission, pack, step):
    saved = {"format": 2, "training": {"step": step, "cursor": 0, "ids": [run.id for run in pack.runs]}}
    torch.save(saved, submission.store.checkpoint(pack.id))


def started(submission, loads=True):
    account = _Account(submission, 0)
    account.start()
    if loads:
        account.compare()
    return account


def test_what_others_recorded_is_not_trained_again(submission):
    first, second = submission.packs([0, 1])
    record(submission, first.runs[0])
    account = _Account(submission, 0)
    assert [pack.runs for pack in account.left()] == [(first.runs[1],), second.runs]
    record(submission, *second.runs)
    assert [pack.runs for pack in account.left()] == [(first.runs[1],)]

    outcomes = _train(submission, 0, [])
    assert outcomes == {first.id: ["recorded", ""]}  # by the name under which it was submitted
    assert len(submission.store.recorded()) == 4
    assert submission.account_of(0)["begun"] == [first.id]


def test_pack_with_a_state_comes_first(submission):
    first, second = submission.packs([0, 1])
    write_state(submission, second, 100)
    assert _Account(submission, 0).left() == [second, first]


def test_element_that_gets_no_further_gives_up_and_is_listed(submission):
    for _ in range(1 + IDLE_STARTS):
        account = started(submission)
    assert account.gives_up
    outcomes = _train(submission, 0, [])
    assert {kind for kind, _ in outcomes.values()} == {"failed"}
    listed = submission.store.failures()
    assert {failure["pack_id"] for failure in listed} == set(outcomes)
    assert all("was started 3 times in a row without getting any further" in each["error"] for each in listed)
    assert not submission.store.recorded()


def test_element_that_gets_further_does_not_give_up_however_often_it_is_started(submission):
    first, _ = submission.packs([0, 1])
    for start in range(5 * IDLE_STARTS):
        if start % IDLE_STARTS == IDLE_STARTS - 1:
            write_state(submission, first, 100 + start)
        assert not started(submission).gives_up, start
    record(submission, first.runs[0])
    for _ in range(IDLE_STARTS):
        account = started(submission)
    assert not account.gives_up
    assert account.account["starts"] == 6 * IDLE_STARTS


def test_start_that_is_stopped_while_it_loads_is_an_idle_one(submission):
    first, _ = submission.packs([0, 1])
    for _ in range(IDLE_STARTS):
        with pytest.raises(KeyboardInterrupt):
            _train(submission, 0, [signal.SIGUSR2])
    write_state(submission, first, 100)
    assert not started(submission).gives_up, "something had come of them"
    for _ in range(IDLE_STARTS):
        assert not started(submission, loads=False).gives_up
    assert started(submission).gives_up


def test_element_that_is_never_left_the_time_to_load_torch_gives_up_without_it(submission):
    code = f"""
import sys
from pathlib import Path
from relusweep.cluster.slurm.array_task import _train
from relusweep.cluster.slurm.submission import Submission
for start in range({IDLE_STARTS}):
    sys.modules["torch"] = None  # who imports it now is stopped
    try:
        _train(Submission(Path(sys.argv[1])), 0, [12])
    except ImportError:
        del sys.modules["torch"]
kinds = [kind for kind, _ in _train(Submission(Path(sys.argv[1])), 0, [12]).values()]
print(kinds, "torch" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code, submission.path], capture_output=True, text=True, check=False)
    assert said.stdout == "['failed', 'failed'] False\n", said.stderr
    assert len(submission.store.failures()) == 2


@pytest.fixture
def claim_of_another_host(submission):
    """A claim on the first pack, last touched so many seconds ago."""
    (pack,) = submission.packs([0])

    def make(ago):
        path = submission.store.path / "claims" / f"{pack.id}.json"
        path.write_text(json.dumps({"host": "a", "pid": 1, "started": 0.0, "runs": [run.id for run in pack.runs]}))
        os.utime(path, (time.time() - ago,) * 2)
        return pack

    return make


def test_claim_of_a_dead_host_is_waited_for_until_it_lapses(submission, claim_of_another_host, monkeypatch):
    monkeypatch.setattr(array_task, "_LOOK_SECONDS", 0.2)
    claim_of_another_host(ago=EXPIRY_SECONDS - 2)
    outcomes = _train(submission, 0, [])
    assert {kind for kind, _ in outcomes.values()} == {"recorded"}
    assert len(submission.store.recorded()) == 4


def test_pack_that_a_living_host_trains_is_left_to_it(submission, claim_of_another_host, monkeypatch):
    monkeypatch.setattr(array_task, "_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(array_task, "EXPIRY_SECONDS", 1)  # of patience; the claim itself has 120
    pack = claim_of_another_host(ago=0)
    outcomes = _train(submission, 0, [])
    assert [pack_id for pack_id, (kind, _) in outcomes.items() if kind == "elsewhere"] == [pack.id]
    assert len(submission.store.recorded()) == 2


def test_element_that_is_done_goes_on_with_packs_that_nobody_has_begun(two):
    submission = two()
    packs = list(submission.packs(range(4)))
    _train(submission, 0, [])
    assert len(submission.store.recorded()) == 8
    account = submission.account_of(0)
    assert account["begun"][:2] == [packs[0].id, packs[1].id], "its own come first"
    assert sorted(account["taken"]) == [2, 3]
    assert _train(submission, 1, []) == {}
    assert "begun" not in submission.account_of(1)
    assert not [*submission.store.checkpoints(), *(submission.store.path / "claims").iterdir()]


def test_element_that_finds_its_packs_recorded_helps_all_the_same(two):
    submission = two()
    for pack in submission.packs([0, 1]):
        record(submission, *pack.runs)
        (submission.store.path / "runs" / f"pack-by-others-{pack.runs[0].id}.parquet").rename(
            submission.store.path / "runs" / f"pack-{pack.id}.parquet"
        )
    _train(submission, 0, [])
    assert len(submission.store.recorded()) == 8


def test_packs_for_which_the_time_of_the_job_is_not_enough_are_left_to_their_element(two):
    submission = two(seconds=86_400 - 149)  # of a day, at whose end 90 seconds are for writing states, or a minute more
    _train(submission, 0, [])
    assert len(submission.store.recorded()) == 4


@pytest.mark.parametrize("folder", ["claims", "failures"])
def test_pack_that_failed_or_whose_process_was_killed_is_left_to_its_element(two, folder):
    submission = two()
    (pack,) = submission.packs([2])
    left = {"host": os.uname().nodename, "pid": 2**22 + 1, "started": 0.0, "runs": [run.id for run in pack.runs]}
    (submission.store.path / folder / f"{pack.id}.json").write_text(json.dumps(left))
    _train(submission, 0, [])
    assert submission.account_of(0)["taken"] == [3]
    assert len(submission.store.recorded()) == 6
    outcomes = _train(submission, 1, [])
    assert outcomes == {pack.id: ["recorded", ""]}
    assert not submission.store.failures()


def test_pack_that_fails_in_other_hands_is_tried_there_once_and_reported_by_its_element(two, monkeypatch):
    submission = two()
    (bad,) = submission.packs([2])
    execute = worker.execute
    tried = []

    def fails(pack, *given, **named):
        if pack.id == bad.id:
            tried.append(pack)
            raise ValueError("no luck")
        return execute(pack, *given, **named)

    monkeypatch.setattr(worker, "execute", fails)
    _train(submission, 0, [])
    assert len(tried) == ATTEMPTS
    submission.end_element(0, {})
    assert _train(submission, 1, []) == {bad.id: ["failed", "ValueError: no luck"]}
    assert [failure["pack_id"] for failure in submission.store.failures()] == [bad.id]
    assert len(submission.store.recorded()) == 6


def test_element_that_is_stopped_in_a_pack_of_another_leaves_a_state_with_which_either_goes_on(two, monkeypatch):
    submission = two()
    others = {pack.id for pack in submission.packs([2, 3])}
    write = Store.write_progress

    def tells(store, worker, progress):
        write(store, worker, progress)
        if progress["pack_id"] in others:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(worker, "_TELL_SECONDS", 0.0)
    with monkeypatch.context() as told:
        told.setattr(Store, "write_progress", tells)
        with pytest.raises(KeyboardInterrupt):
            _train(submission, 0, [])
    (state,) = submission.store.checkpoints()
    assert state.stem in others
    (taken,) = submission.account_of(0)["taken"]
    assert taken in submission.untouched()
    assert [pack.id for pack in _Account(submission, 0).left()] == [state.stem]
    assert _Account(submission, 1).left()[0].id == state.stem, "what has a state comes first"
    for _ in range(IDLE_STARTS):
        started(submission)
    assert _train(submission, 0, []) == {}, "it gives up, for want of packs of its own"
    assert not submission.store.failures()
    _train(submission, 1, [])
    assert len(submission.store.recorded()) == 8


def test_store_may_be_compacted_while_elements_train(two, monkeypatch, rows_on_disk):
    submission = two()
    write = Store.write

    def writes(store, *given):
        write(store, *given)
        compact(store)

    monkeypatch.setattr(Store, "write", writes)
    assert {kind for kind, _ in _train(submission, 0, []).values()} == {"recorded"}
    assert len(submission.store.parts()) == 1
    assert len(submission.untouched()) == 4, "by the names of files, which are gone"
    assert [*_train(submission, 1, []).values()] == [["recorded", ""]] * 2, (
        "what it took over for that, it finds recorded"
    )
    assert rows_on_disk(submission.store.path)["runs"] == len(submission.store.recorded()) == 8


def test_submission_that_was_cancelled_is_not_helped(two):
    submission = two()
    submission.end("cancelled")
    _train(submission, 0, [])
    assert len(submission.store.recorded()) == 4


def test_later_state_is_more_steps(submission):
    first, second = submission.packs([0, 1])
    assert steps_taken(submission.store, [first.id]) == 0
    write_state(submission, first, 100)
    write_state(submission, second, 30)
    assert steps_taken(submission.store, [first.id, second.id]) == 130
    submission.store.checkpoint(first.id).write_bytes(b"damaged")
    assert steps_taken(submission.store, [first.id, second.id]) == 30


def test_signal_that_came_early_is_heeded(submission):
    with pytest.raises(KeyboardInterrupt):
        _train(submission, 0, [15])
    assert not submission.store.recorded()


def test_job_without_gpus_uses_its_cores_and_no_gpu_that_it_happens_to_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert workers_here({"gpus_per_job": 0, "cpus_per_task": 1}) == 1
    assert workers_here({"gpus_per_job": 0, "cpus_per_task": 999}) == len(os.sched_getaffinity(0))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("visible", [None, "", "0", "0,1,2"])
def test_job_that_did_not_get_its_gpus_says_so(monkeypatch, visible):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURMD_NODENAME", "node3")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(
        BackendError, match=r"job 12 on node3: asked for 2 GPU\(s\), got CUDA_VISIBLE_DEVICES=.*; expected"
    ):
        workers_here({"gpus_per_job": 2})


def test_torch_that_finds_fewer_gpus_than_slurm_gave_is_an_error_where_it_could_use_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert workers_here({"gpus_per_job": 2}) == 2  # a torch without CUDA: the launcher has said so
    with monkeypatch.context() as driver:
        driver.setattr("relusweep.cluster.slurm.array_task._DRIVER", Path(os.devnull))
        with pytest.raises(
            BackendError, match=r"SLURM gave 2 GPU\(s\), and torch .* cannot use any; expected a build wi"
        ):
            workers_here({"gpus_per_job": 2})
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BackendError, match=r"SLURM gave 2 GPU\(s\), torch .* finds 1; expected as many"):
        workers_here({"gpus_per_job": 2})
