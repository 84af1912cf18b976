"""Worker pool: its workers stop on a signal, and one that dies does not take the others along."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import torch

from relusweep.cluster import worker
from relusweep.cluster.backend import Assignment, BackendError
from relusweep.cluster.host.memory import kills
from relusweep.cluster.local.forks import CONTEXT
from relusweep.cluster.local.pool import WorkerPool
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.store import Store


@pytest.mark.slow
def test_launcher_can_be_stopped_after_the_origin_of_its_workers_was_killed(
    launch: Callable[..., Any], until: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    spec = tiny(grid="lr = [0.05, 0.1], width = [3, 4]", max_steps=100_000_000, tolerance=0.0)  # two packs
    process = launch("run", spec, "--out", store, "--workers", 2)
    until(lambda: len(list((store / "progress").glob("[!.]*.json"))) == 2)
    workers = {int(path.stem.rpartition("-")[2]) for path in (store / "progress").glob("[!.]*.json")}
    children = psutil.Process(process.pid).children(recursive=True)
    (origin,) = [each for each in children if {child.pid for child in each.children()} >= workers]
    origin.kill()
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 130
    assert len(list((store / "checkpoints").glob("[!.]*.pt"))) == 2
    _, alive = psutil.wait_procs([each for each in children if each.pid in workers], timeout=10)
    assert not alive


@pytest.mark.parametrize("stopped", [True, False])
def test_origin_that_a_signal_to_all_of_us_has_ended_first_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[..., None], stopped: bool
) -> None:
    class Gone:
        """What is to be started by an origin that ends meanwhile."""

        def __init__(self, **given: Any) -> None:
            """Take what a process takes."""

        def start(self) -> None:
            """Find that it has ended, a moment before our own signal comes."""
            if stopped:
                meanwhile(lambda: (time.sleep(0.1), os.kill(os.getpid(), signal.SIGTERM)))
            raise EOFError

    monkeypatch.setattr(CONTEXT, "Process", Gone)
    monkeypatch.setattr("relusweep.cluster.local.pool.load_ahead", lambda: None)
    assignment = Assignment(Store.create(tmp_path / "store").path, Measure(), "local", 60.0)
    pack = Pack((Run.model_validate({"problem": "sine", "lr": 0.1}),))
    with (
        pytest.raises(KeyboardInterrupt if stopped else BackendError),
        WorkerPool.started(assignment, [torch.device("cpu")]) as pool,
    ):
        list(pool.train(iter([pack]), lambda: None))


@pytest.mark.slow
def test_pack_that_needs_more_memory_than_there_is_fails_alone_and_is_tried_again(
    tmp_path: Path, tiny: Callable[..., Path]
) -> None:
    grid = "lr = [0.05], width = [4, 6_000]"  # the large network has activations of 8 × 6,000 × 1,000 bytes
    given: dict[str, Any] = {"n": 1000, "max_steps": 1, "optimizer": "'adam'"}  # the reference kernel trains these
    large = tiny(grid=grid, **given).rename(tmp_path / "large.toml")
    small = tiny(grid="lr = [0.05], width = [4]", **given)
    lines = (
        "import json, resource, sys, psutil\n"
        "from pathlib import Path\n"
        "from relusweep.cli import main\n"
        "from relusweep.sweep.store.store import Store\n"
        "small, large, store = sys.argv[1:]\n"
        "run = lambda spec: main(['run', spec, '--out', store, '--workers', '1'])\n"
        "assert run(small) == 0\n"
        "limit = psutil.Process().memory_info().vms + 40 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))\n"
        "assert run(large) == 1\n"
        "(failure,) = Store.open(store).failures()\n"
        "assert main(['status', store]) == 0\n"
        "assert main(['verify', store]) == 1\n"
        "assert run(large) == 1\n"
        "assert Store.open(store).failures()[0]['time'] > failure['time']\n"
        "print(json.dumps(failure))\n"
    )
    command = [sys.executable, "-c", lines, small, large, tmp_path / "store"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    failure = json.loads(done.stdout.splitlines()[-1])
    assert failure["attempts"] == 3
    assert len(failure["run_ids"]) == 1
    assert "allocate" in failure["error"]
    assert "Traceback" in failure["trace"]
    said = f"pack {failure['pack_id']} of 1 runs failed: {failure['error']}\n"
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 2 * 2
    assert "1 runs failed; see" in done.stderr
    assert "The same command tries them again." in done.stderr
    assert "1/2 runs · 0 converged, 1 at budget, 0 diverged · 1 pack(s) failed" in done.stdout
    assert f"pack {failure['pack_id']} of 1 runs failed on {failure['host']}: {failure['error']}" in done.stdout
    assert f"missing: {failure['run_ids'][0]}" in done.stdout


@pytest.mark.slow
def test_after_a_kill_for_want_of_memory_the_next_attempt_takes_half(
    cli: Callable[..., Any],
    until: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    meanwhile: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[int] = []
    before = kills()  # on this machine, since its boot
    monkeypatch.setattr("relusweep.cluster.local.pool.kills", lambda: before + len(killed))
    store, spec = (
        tmp_path / "store",
        tiny(grid="lr = [0.05], seed = { range = [0, 5] }", max_steps=1_000_000, tolerance=0.0),
    )

    def kill() -> None:
        (progress,) = until(lambda: list((store / "progress").glob("[!.]*.json")))
        killed.append(int(progress.stem.rpartition("-")[2]))
        os.kill(killed[0], signal.SIGKILL)

    meanwhile(kill)
    said = cli("run", spec, "--out", store, "--workers", 2)
    assert (said.code, said.err) == (0, "")
    sizes = pq.read_table(store / "runs", columns=["pack_size"])["pack_size"].to_pylist()
    assert sorted(sizes) == [2, 2, 3, 3, 3]
    assert not [*Store(store).checkpoints(), *Store(store).failures(), *(store / "claims").iterdir()]


def test_memory_that_is_too_little_for_a_pack_is_enough_for_parts_of_it(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = worker.execute

    def greedy(pack: Pack, *given: Any, **named: Any) -> Any:
        if len(pack.runs) > 2:
            raise MemoryError
        return execute(pack, *given, **named)

    monkeypatch.setattr(worker, "execute", greedy)
    store, spec = tmp_path / "store", tiny(grid="lr = [0.05], seed = { range = [0, 7] }", max_steps=10)
    said = cli("run", spec, "--out", store, "--workers", 1)
    assert (said.code, said.err) == (0, "")
    sizes = pq.read_table(store / "runs", columns=["pack_size"])["pack_size"].to_pylist()
    assert sorted(sizes) == [1, 2, 2, 2, 2, 2, 2]
    assert not Store(store).failures()
