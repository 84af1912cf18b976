"""`relusweep replay`"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_replay_prints_the_difference_to_the_record(
    ids: Callable[..., list[str]], cli: Callable[..., Any], store: Path, tree: Callable[..., Any]
) -> None:
    (run_id, _), before = ids(), tree(store)
    said = cli("replay", store, run_id[:8])
    assert (said.code, said.err) == (0, "")
    assert f"run {run_id}, recorded in a pack of 4 on cpu" in said.out
    rows = {line.split()[0]: line.split()[1:] for line in said.out.splitlines() if line}
    assert float(rows["loss"][-1]) < 1e-9
    assert float(rows["sharpness"][-1]) < 1e-9
    assert rows["status"] == ["budget", "budget"]
    assert tree(store) == before


def test_replay_of_a_diverged_run_diverges_again(
    ids: Callable[..., list[str]], cli: Callable[..., Any], store: Path
) -> None:
    said = cli("replay", store, ids("diverged")[0])
    assert said.code == 0
    rows = {line.split()[0]: line.split()[1:] for line in said.out.splitlines() if line}
    assert rows["status"] == ["diverged", "diverged"]
    assert rows["loss"] == ["None", "None"]


@pytest.mark.parametrize("command", ["replay", "export"])
def test_run_id_that_names_no_run_or_several_is_refused(refused: Callable[..., str], store: Path, command: str) -> None:
    more = ["run.npz"] if command == "export" else []
    assert "no recorded run with an id that begins with 'xyz'" in refused(command, store, "xyz", *more)
    line = refused(command, store, "", *more)
    assert f"{store}: 4 recorded runs with an id that begins with ''; expected exactly one." in line
