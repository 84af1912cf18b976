"""`relusweep status` and `watch`"""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep.store import Store


def test_status_says_how_many_have_ended_and_how(cli: Callable[..., Any], store: Path) -> None:
    said = cli("status", store)
    assert (said.code, said.err) == (0, "")
    assert said.out == "4/4 runs · 0 converged, 2 at budget, 2 diverged\n"


def test_watch_follows_a_sweep_of_another_process_to_its_end(
    cli: Callable[..., Any],
    launch: Callable[..., Any],
    until: Callable[..., Any],
    tiny: Callable[..., Path],
    tmp_path: Path,
) -> None:
    process = launch("run", tiny(max_steps=6000), "--out", "store", "--workers", 1)
    until(lambda: any((tmp_path / "store" / "progress").glob("[!.]*.json")) or process.poll() is not None)
    during = cli("status", "store").out
    said = cli("watch", "store")
    assert process.wait(timeout=60) == 0
    assert "0/4 runs" in during
    assert "4 training on 1 worker(s)" in during
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == "4/4 runs · 0 converged, 4 at budget, 0 diverged"


def test_watch_does_not_end_while_planned_runs_are_missing(
    cli: Callable[..., Any], launch: Callable[..., Any], tiny: Callable[..., Path], store: Path
) -> None:
    Store(store).keep_spec(tiny(grid="lr = [0.07], seed = [0, 1, 2, 3]").read_text())  # 4 others are recorded
    process = launch("watch", store)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=4)
