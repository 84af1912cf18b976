"""Launchers that meet on one store: they share the work, and nothing is recorded twice."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from relusweep.sweep.store.store import Store
from tests.cluster.conftest import is_training


@pytest.mark.slow
def test_two_launchers_on_one_store_share_the_work_and_double_nothing(
    cli: Callable[..., Any],
    launch: Callable[..., Any],
    tiny: Callable[..., Path],
    tree: Callable[..., Any],
    tmp_path: Path,
    rows_on_disk: Callable[..., Any],
) -> None:
    store = tmp_path / "store"
    spec = tiny(grid="lr = [0.05, 0.1], width = [3, 4, 5, 6, 7, 8], seed = [0, 1]", max_steps=60_000, tolerance=0.0)
    command = ("run", spec, "--out", store, "--workers", 1)
    first, second = launch(*command), launch(*command)
    assert [process.wait(timeout=100) for process in (first, second)] == [0, 0]
    assert rows_on_disk(store)["runs"] == len(Store(store).recorded()) == 24
    before = tree(store)
    assert cli(*command).code == 0
    assert tree(store) == before


@pytest.mark.slow
def test_launcher_that_comes_late_packs_otherwise_waits_and_doubles_nothing(
    launch: Callable[..., Any],
    until: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    rows_on_disk: Callable[..., Any],
) -> None:
    store = tmp_path / "store"
    spec = tiny(
        grid="lr = [0.1], seed = { range = [0, 160] }", max_steps=100_000, tolerance=0.0
    )  # 4 packs of 40; 4 of 32 for the late
    first = launch("run", spec, "--out", store, "--workers", 1)
    until(lambda: any((store / "claims").glob("[!.]*.json")))
    late = launch("run", spec, "--out", store, "--workers", 1)
    assert [process.wait(timeout=100) for process in (first, late)] == [0, 0]
    assert rows_on_disk(store)["runs"] == len(Store(store).recorded()) == 160


@pytest.mark.slow
def test_launcher_waits_for_the_last_runs_of_another(
    cli: Callable[..., Any],
    launch: Callable[..., Any],
    until: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    rows_on_disk: Callable[..., Any],
) -> None:
    store = tmp_path / "store"
    command = ("run", tiny(max_steps=5_000_000, tolerance=0.0), "--out", store, "--workers", 1)
    first = launch(*command)
    until(lambda: any((store / "claims").glob("[!.]*.json")))
    second = cli(*command)
    assert (second.code, first.wait(timeout=60)) == (0, 0)
    assert second.err == f"{store}: another launcher is training the last 4 runs; waiting for it.\n"
    assert rows_on_disk(store)["runs"] == 4


CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.mark.slow
def test_launchers_in_two_containers_on_one_host_share_the_work(
    launch: Callable[..., Any],
    until: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    rows_on_disk: Callable[..., Any],
) -> None:
    store = tmp_path / "store"
    command = ("run", tiny(max_steps=10_000_000, tolerance=0.0), "--out", store, "--workers", 1)
    first = launch(*command)
    until(lambda: is_training(store))
    (mine,) = (store / "claims").glob("[!.]*.json")
    content = mine.read_bytes()
    second = launch(*command, within=CONTAINER)
    waits = "another launcher is training the last 4 runs; waiting for it."
    assert second.stderr
    assert waits in second.stderr.readline()
    assert mine.read_bytes() == content
    assert [process.wait(timeout=100) for process in (first, second)] == [0, 0]
    assert rows_on_disk(store)["runs"] == 4


@pytest.mark.slow
def test_launcher_that_stood_still_beyond_its_lease_doubles_nothing_when_it_goes_on(
    run: Callable[..., Any],
    launch: Callable[..., Any],
    until: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
    rows_on_disk: Callable[..., Any],
) -> None:
    store = tmp_path / "store"
    command = ("--out", store, "--workers", 1)
    seeds = "lr = [0.1], seed = {{ range = [0, {}] }}"  # the second launcher's pack is another one
    first = launch("run", tiny(grid=seeds.format(4), max_steps=1_500_000, tolerance=0.0), *command, within=CONTAINER)
    until(lambda: is_training(store))
    (theirs,) = (store / "claims").glob("[!.]*.json")
    group = [first.pid, *(child.pid for child in psutil.Process(first.pid).children(recursive=True))]
    for pid in group:
        os.kill(pid, signal.SIGSTOP)
    os.utime(theirs, (time.time() - 130,) * 2)
    code, _, err = run(tiny(grid=seeds.format(6), max_steps=1_500_000, tolerance=0.0), *command)
    assert (code, err) == (0, "")
    assert len(Store(store).recorded()) == 6
    for pid in reversed(group):
        os.kill(pid, signal.SIGCONT)
    out, err = first.communicate(timeout=100)
    assert (first.returncode, err) == (0, "")
    assert "all 4 runs are recorded" in out
    assert rows_on_disk(store)["runs"] == len(Store(store).recorded()) == 6
    assert not [*Store(store).checkpoints(), *(store / "claims").iterdir()]
