"""Store queue: a task is gone when two answers of SLURM in a row lack it; what is pending is left alone."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.cluster.slurm import queue as queues
from relusweep.cluster.slurm.scheduler import SchedulerError
from relusweep.cluster.slurm.store_queue import StoreQueue
from relusweep.cluster.slurm.submission import CANCELLED, Submission
from relusweep.sweep.store.store import Store
from tests.cluster.slurm.cluster import Cluster


def test_store_without_submissions_asks_nothing(monkeypatch, tmp_path):
    store = Store.create(tmp_path / "store")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert StoreQueue(store).runs() == set()
    assert StoreQueue(store).describe() == []


def test_machine_that_cannot_ask_says_so_instead_of_training_what_may_be_in_a_queue(submission, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    message = (
        r"jobs of this store may be in a queue, and there is no squeue here .*; expected a login node .* delete that"
    )
    with pytest.raises(SchedulerError, match=message):
        StoreQueue(submission.store).runs()
    assert StoreQueue(submission.store).describe() == [
        "SLURM job(s) unknown as yet: 1 of 1 task(s) left",
        "SLURM cannot be asked: squeue: not found on this machine; expected SLURM. Use a login node.",
    ]


def test_runs_are_pending_while_their_launcher_is_at_it(submission):
    with submission.being_submitted():
        assert StoreQueue(submission.store).runs() == submission.run_ids[0]


def test_looking_closes_nothing(submission):
    submission.end_task(0, {})
    assert StoreQueue(submission.store).runs(close=False) == set()
    assert submission.ended is None


def test_message_that_holds_of_several_tasks_is_one_line(published):
    submission = published(1, [(number,) for number in range(44)], grid="lr = [0.1], seed = { range = [0, 44] }")
    submission.write_jobs(["12"])
    for number in range(42):
        submission.end_task(number, {}, "no GPU", "BackendError")
    pending = StoreQueue(submission.store)
    pending.queue.look = lambda submissions: None
    pending.queue.gone = {(submission.id, number) for number in (42, 43)}
    assert pending.describe() == [
        "SLURM job(s) 12: 2 of 44 task(s) left",
        f"  12_42 and 1 more task: gone (unknown to SLURM), see {submission.path}/logs; "
        "the same `relusweep run` submits what is missing again",
        "  12_0 and 41 more tasks: no GPU",
    ]


def test_submission_whose_tasks_have_all_ended_is_closed(submission):
    submission.end_task(0, {})
    assert StoreQueue(submission.store).runs() == set()
    assert submission.ended == "none of its jobs is in the queue any more"


def test_task_counts_as_gone_when_two_answers_in_a_row_lack_it(slurm, submission, calls, monkeypatch):
    monkeypatch.setattr(queues, "LEAST_SECONDS", 0.0)
    job = slurm.sbatch("true", "--hold", f"--job-name={submission.job_name(0)}", "--output=/dev/null")
    pending = StoreQueue(submission.store)
    assert pending.runs() == submission.run_ids[0]
    slurm.run("scancel", job)
    before = len(calls)
    assert pending.runs() == set()
    assert len(calls) == before + 2
    assert calls[-1] - calls[-2] > 0.49
    assert submission.ended == "none of its jobs is in the queue any more"


def test_task_is_seen_whatever_its_owner_likes_to_see(slurm, submission, monkeypatch):
    slurm.sbatch("true", "--hold", f"--job-name={submission.job_name(0)}", "--output=/dev/null")
    for name, value in {"PARTITION": "high", "FORMAT": "%i", "FORMAT2": "jobid", "STATES": "running"}.items():
        monkeypatch.setenv(f"SQUEUE_{name}", value)
    monkeypatch.setenv("SLURM_CLUSTERS", "another")
    assert StoreQueue(submission.store).runs() == submission.run_ids[0]


def test_report_that_is_to_be_written_when_all_tasks_have_ended_is_cancelled_too(slurm, submission):
    job = slurm.sbatch("true", "--hold", f"--job-name={submission.job_name('report')}", "--output=/dev/null")
    submission.end("all of its array tasks have ended")
    assert StoreQueue(submission.store).cancel() == [job]
    assert slurm.jobs()[job] == "CANCELLED"
    assert submission.ended == "all of its array tasks have ended"


def test_task_that_is_back_at_the_second_look_is_not_gone(slurm, submission, calls, monkeypatch):
    monkeypatch.setattr(queues, "LEAST_SECONDS", 0.0)
    ask = queues.squeue

    def and_then_it_is_back(names):
        answer = ask(names)
        if len(calls) == 1:
            slurm.sbatch("true", "--hold", f"--job-name={submission.job_name(0)}", "--output=/dev/null")
        return answer

    monkeypatch.setattr(queues, "squeue", and_then_it_is_back)
    assert StoreQueue(submission.store).runs() == submission.run_ids[0]
    assert len(calls) == 2
    assert submission.ended is None


def test_runs_in_the_queue_are_neither_submitted_nor_trained_again(
    slurm: Cluster,
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    launch: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., Any],
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
) -> None:
    spec, store = tiny(), tmp_path / "store"
    arguments = submitting(spec, store)
    blockers = [
        slurm.sbatch("sleep 60", "--output=/dev/null", "--exclusive", f"--nodelist={node}") for node in slurm.nodes
    ]
    until(lambda: all(slurm.jobs()[job] == "RUNNING" for job in blockers))
    assert cli("run", *arguments, "--detach").code == 0
    again = cli("run", *arguments, "--detach")
    assert (again.code, again.err) == (0, "")
    assert "submitted" not in again.out
    assert len(submissions(store)) == 1
    standing = cli("status", store)
    assert "1 of 1 task(s) left, 1 pending (" in standing.out
    planned = cli("plan", *arguments).out
    assert "\nqueued already    4\nto train          0\n" in planned
    assert "#SBATCH" not in planned

    here = launch("run", spec, "--out", store, "--workers", 1)  # a second shell, and on this machine
    until(lambda: here.poll() is not None or _said_that_it_waits(here))
    assert Store(store).recorded() == set()
    slurm.run("scancel", *blockers)
    assert here.wait(timeout=60) == 0
    assert set(Store(store).read("runs", ["backend"])[0]["backend"].to_pylist()) == {"slurm"}
    verified(store)


def _said_that_it_waits(process: "subprocess.Popen[str]") -> bool:
    assert process.stderr is not None
    return "jobs of another launcher are to train the last 4 runs; waiting for them." in process.stderr.readline()


def test_cancel_ends_what_was_submitted_for_a_store_and_nothing_else(
    slurm: Cluster,
    submitting: Callable[..., list[object]],
    cli: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., Any],
    submissions: Callable[[Path], list[Submission]],
    verified: Callable[[Path], None],
) -> None:
    spec, store = tiny(max_steps=1_000_000, tolerance=0.0), tmp_path / "store"
    other = slurm.sbatch("sleep 60", "--output=/dev/null")
    assert cli("run", *submitting(spec, store), "--detach", "--report").code == 0
    (submission,) = submissions(store)
    report = json.loads((submission.path / "jobs.json").read_text())["report"]
    until(lambda: any((store / "progress").glob("[!.]*.json")))
    said = cli("cancel", store)
    assert (said.code, said.out) == (0, f"{store}: cancelled job(s) {submission.jobs[0]}, {report}\n")
    assert submission.ended == CANCELLED
    until(lambda: slurm.jobs()[submission.jobs[0]] == "CANCELLED")
    assert slurm.jobs()[other] == "RUNNING"
    assert cli("cancel", store).out == f"{store}: no job of it is in the queue\n"
    assert len(Store(store).checkpoints()) == 1  # it got a signal, and wrote its state

    assert cli("run", *submitting(spec, store)).code == 0
    assert len(submissions(store)) == 2
    verified(store)
