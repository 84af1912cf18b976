"""Element: trains what is left of its packs, gives up only where it gets no further, and insists on its GPUs."""

import json
import os
import time
from pathlib import Path

import pytest
import torch

import cluster.element
from cluster.backend import BackendError, Job
from cluster.element import IDLE_STARTS, _Account, _train, steps_taken, workers_here
from cluster.submission import Draft, Element
from sweep.claim import LAPSE_SECONDS
from sweep.pack import make_packs
from sweep.spec import Measure, Spec
from sweep.store import Store

CORES = {"gpus_per_job": 0, "cpus_per_task": 1}


@pytest.fixture
def submission(tiny, tmp_path):
    """One element of two packs of two runs."""
    store = Store.create(tmp_path / "store")
    draft = Draft(store)
    packs = make_packs(Spec.read(tiny(max_steps=200)).expand(), lambda run: 2)
    draft.take((pack, 1.0) for pack in packs)
    job = Job(store.path, Measure(), "slurm", 60.0)
    return draft.publish([Element((0, 1), 4, 2.0)], [range(1)], job, {"time": time.time(), "machine": CORES})


def record(submission, *runs):
    rows = [run.model_dump() | {"run_id": run.id, "status": "budget"} for run in runs]
    submission.store.write(f"by-others-{runs[0].id}", {"runs": rows}, {})


def write_state(submission, pack, step):
    saved = {"format": 2, "training": {"step": step, "cursor": 0, "ids": [run.id for run in pack.runs]}}
    torch.save(saved, submission.store.checkpoint(pack.id))


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
        account = _Account(submission, 0)
        account.start()
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
        account = _Account(submission, 0)
        account.start()
        assert not account.gives_up, start
    record(submission, first.runs[0])
    for _ in range(IDLE_STARTS):
        account = _Account(submission, 0)
        account.start()
    assert not account.gives_up
    assert account.account["starts"] == 6 * IDLE_STARTS


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
    monkeypatch.setattr(cluster.element, "_LOOK_SECONDS", 0.2)
    claim_of_another_host(ago=LAPSE_SECONDS - 2)
    outcomes = _train(submission, 0, [])
    assert {kind for kind, _ in outcomes.values()} == {"recorded"}
    assert len(submission.store.recorded()) == 4


def test_pack_that_a_living_host_trains_is_left_to_it(submission, claim_of_another_host, monkeypatch):
    monkeypatch.setattr(cluster.element, "_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(cluster.element, "LAPSE_SECONDS", 1)  # of patience; the claim itself has 120
    pack = claim_of_another_host(ago=0)
    outcomes = _train(submission, 0, [])
    assert [pack_id for pack_id, (kind, _) in outcomes.items() if kind == "elsewhere"] == [pack.id]
    assert len(submission.store.recorded()) == 2


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
        driver.setattr("cluster.element._DRIVER", Path(os.devnull))
        with pytest.raises(
            BackendError, match=r"SLURM gave 2 GPU\(s\), and torch .* cannot use any; expected a build wi"
        ):
            workers_here({"gpus_per_job": 2})
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BackendError, match=r"SLURM gave 2 GPU\(s\), torch .* finds 1; expected as many"):
        workers_here({"gpus_per_job": 2})
