"""`relusweep status` and `watch`: where a sweep stands, whatever has become of its workers."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.sweep.store.store import Store


def test_status_says_how_many_have_ended_and_how(cli: Callable[..., Any], store: Path) -> None:
    said = cli("status", store)
    assert (said.code, said.err) == (0, "")
    assert said.out == "4/4 runs · 0 converged, 2 at budget, 2 diverged\n"


@pytest.mark.slow
def test_watch_follows_a_sweep_of_another_process_to_its_end(
    cli: Callable[..., Any],
    launch: Callable[..., Any],
    until: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
) -> None:
    process = launch("run", tiny(max_steps=800_000, tolerance=0.0), "--out", "store", "--workers", 1)
    until(lambda: any((tmp_path / "store" / "progress").glob("[!.]*.json")) or process.poll() is not None)
    during = cli("status", "store").out
    said = cli("watch", "store")
    assert process.wait(timeout=60) == 0
    assert "0/4 runs" in during
    assert "4 training on 1 worker(s)" in during
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == "4/4 runs · 0 converged, 4 at budget, 0 diverged"


@pytest.mark.slow
def test_watch_does_not_end_while_planned_runs_are_missing(
    cli: Callable[..., Any], launch: Callable[..., Any], tiny: Callable[..., Path], store: Path
) -> None:
    Store(store).write_spec(tiny(grid="lr = [0.07], seed = [0, 1, 2, 3]").read_text())  # 4 others are recorded
    process = launch("watch", store)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=4)


def training(store: Path) -> set[str]:
    """Ids of the packs that workers, alive or not, said to have begun and that are far from being recorded."""
    said = [progress for progress in Store(store).progress() if progress["step"] < 300_000]
    return {progress["pack_id"] for progress in said if not Store(store).has_pack(progress["pack_id"])}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_status_and_watch_after_kill_9_count_the_recorded_and_no_dead_worker(
    cli: Callable[..., Any],
    launch: Callable[..., Any],
    until: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    rows_on_disk: Callable[..., Any],
    workers: int,
) -> None:
    store = tmp_path / "store"
    spec = tiny(
        grid="lr = [0.05, 0.1], seed = [0, 1], width = [3, 4, 5, 6]", max_steps=1_000_000, tolerance=0.0
    )  # 4 packs of 4 runs
    command = ("run", spec, "--out", store, "--checkpoint-minutes", 0, "--workers", workers)
    first = launch(*command)
    until(lambda: (store / "runs").exists() and len(Store(store).parts()) >= workers and training(store))
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    recorded, left = rows_on_disk(store)["runs"], training(store)
    assert left, "what the dead said last is still there"
    assert 4 <= recorded < 16
    stands = f"{recorded}/16 runs · 0 converged, {recorded} at budget, 0 diverged\n"
    until(lambda: cli("status", store).out == stands, 10)  # the killed need a moment to be gone

    watching = launch("watch", store)
    second = launch("run", spec, "--out", store, "--workers", 1)
    until(lambda: any(p["pack_id"] in left and p["worker"].endswith(f"-{second.pid}") for p in Store(store).progress()))
    second.send_signal(signal.SIGSTOP)  # so that the pack does not end before it is looked at
    during = cli("status", store).out
    second.send_signal(signal.SIGCONT)
    assert second.wait(timeout=60) == 0
    out, err = watching.communicate(timeout=60)
    assert " · 4 training on 1 worker(s) · " in during, "a pack that goes on is not counted for the dead as well"
    assert (watching.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "16/16 runs · 0 converged, 16 at budget, 0 diverged"
    assert cli("verify", store).out == f"{store}: planned 16 = recorded 16 + missing 0\n"


def test_failure_of_runs_that_others_have_recorded_is_none_any_more(cli, tiny, tmp_path):
    spec, path = tiny(), tmp_path / "store"
    assert cli("run", spec, "--out", path, "--workers", 1).code == 0
    store = Store(path)
    failure = {"pack_id": "0" * 16, "run_ids": sorted(store.recorded()), "error": "killed", "host": "node1"}
    failure |= {"trace": "", "attempts": 3, "time": 0.0}
    store.write_failure("0" * 16, failure)
    for command in ("status", "verify"):
        assert "failed" not in cli(command, path).out
    assert cli("run", spec, "--out", path, "--workers", 1).code == 0
    assert store.failures() == []
    store.write_failure("0" * 16, failure | {"run_ids": ["0" * 32]})
    assert "pack 0000000000000000 of 1 runs failed on node1: killed" in cli("verify", path).out


def submission(store, text):
    folder = store / "jobs" / "0123456789ab"
    folder.mkdir(parents=True)
    (folder / "submission.json").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(("text", "problem"), [('{"half', "Invalid JSON"), ("{}", "job: Field required")])
@pytest.mark.parametrize("command", ["status", "cancel"])
def test_damaged_submission_is_named_in_one_line(cli, tiny, tmp_path, command, text, problem):
    assert cli("run", tiny(), "--out", tmp_path / "store", "--workers", 1).code == 0
    folder = submission(tmp_path / "store", text)
    said = cli(command, tmp_path / "store")
    assert said.code == 2
    assert said.err.startswith(f"StoreError: {folder}/submission.json: cannot be read (")
    assert re.search(problem, said.err)
    assert said.err.count("\n") == 1


@pytest.mark.slow
def test_watch_ends_where_jobs_were_cancelled_and_no_worker_is_active(cli, tiny, tmp_path):
    spec, path = tiny(), tmp_path / "store"
    assert cli("run", spec, "--out", path, "--workers", 1).code == 0
    (path / "spec.toml").write_text(tiny(grid="lr = [0.05, 0.1, 0.2], seed = [0, 1]").read_text(), encoding="utf-8")
    content = {"job": {}, "packs": [], "elements": [], "arrays": [], "machine": {}, "time": 0}
    folder = submission(path, json.dumps(content))
    (folder / "ended.json").write_text('{"why": "cancelled"}', encoding="utf-8")
    said = cli("watch", path)
    assert (said.code, said.out.splitlines()[0]) == (
        1, f"{path}: no active worker; 2 runs left. Next: the same relusweep run"
    )  # fmt: skip
