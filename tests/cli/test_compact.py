"""`relusweep compact`"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from relusweep.sweep.store.store import Store


def test_compact_keeps_the_table_and_merges_the_parts(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, equal_tables: Callable[[Path, Path], None]
) -> None:
    spec = tiny(grid="lr = [0.1], width = [2, 3, 4], seed = [0, 1]", measure="save_weights = true", max_steps=1)
    assert cli("run", spec, "--out", "store", "--workers", 1).code == 0
    shutil.copytree("store", "before")
    said = cli("compact", "store")
    assert (said.code, said.out) == (0, "runs: 3 parts → 1\nweights: 3 parts → 1\n")
    equal_tables(Path("store"), Path("before"))
    assert len(Store(Path("store")).parts()) == 1
    assert cli("compact", "store").out == "runs: 1 parts → 1\nweights: 1 parts → 1\n"
    assert cli("verify", "store").code == 0
    assert cli("run", spec, "--out", "store", "--workers", 1).code == 0
    assert len(Store(Path("store")).parts()) == 1
