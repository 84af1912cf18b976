"""`relusweep plan`"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from relusweep.sweep.store.store import Store


def test_plan_says_what_would_be_trained_and_writes_nothing(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, tree: Callable[..., Any]
) -> None:
    spec = tiny(grid="lr = [0.1, 0.2], seed = { range = [0, 600] }", measure="every = 'log:3'")
    before = tree(tmp_path)
    said = cli("plan", spec, "--workers", 1)
    assert (said.code, said.err) == (0, "")
    lines = {line[:18].strip(): line[18:] for line in said.out.splitlines()}
    assert lines["runs"] == "1,200"
    assert lines["recorded already"] == "0"
    assert lines["to train"] == "1,200"
    assert lines["packs"] == "4 of 1 tensor shape(s)"
    assert lines["files"] == "8 in results/tiny"
    assert lines["time"].startswith("about ")
    assert lines["time"].endswith(", 1 worker(s), local")
    assert tree(tmp_path) == before


def test_plan_counts_a_store_that_lacks_its_folders(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    Store.create(tmp_path / "store")
    assert "recorded already  0" in cli("plan", tiny(), "--out", "store").out
