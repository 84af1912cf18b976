"""Pack file: packs come back run by run, only those asked for, from a small file."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from relusweep.cluster.jobs.pack_file import PackFile
from relusweep.sweep.pack import Pack, make_packs
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.run_ids import RunIds


@pytest.fixture
def packs(tiny: Callable[..., Path]) -> list[Pack]:
    spec = Spec.read(tiny(grid="lr = [0.1, 0.30000000000000004], seed = { range = [0, 10] }, lr_ratio = [1, inf]"))
    return list(make_packs(spec.expand(), lambda run: 7))


def test_packs_come_back_run_by_run_and_only_those_asked_for(packs: list[Pack], tmp_path: Path) -> None:
    file = PackFile(tmp_path / "packs.parquet")
    file.write(packs)
    assert list(file.read([4, 0])) == [packs[4], packs[0]]
    assert {run.lr_ratio for pack in file.read(range(6)) for run in pack.runs} == {1.0, math.inf}
    assert file.run_ids() == [RunIds(run.id for run in pack.runs) for pack in packs]


def test_damaged_file_is_one_line_with_its_cure(tmp_path: Path) -> None:
    file = PackFile(tmp_path / "packs.parquet", "Try again.")
    file.path.write_bytes(b"damaged")
    with pytest.raises(
        StoreError, match=r"packs\.parquet: cannot be read \(.*\); expected what .* wrote\. Try again\.$"
    ):
        list(file.read([0]))
    with pytest.raises(StoreError, match="packs"):
        file.run_ids()


def test_packs_take_little_room(tmp_path: Path) -> None:
    spec = Spec.parse(
        "name = 'many'\n[[block]]\nfixed = { problem = 'sine' }\n"
        "grid = { lr = { log = [0.01, 0.1, 100] }, seed = { range = [0, 100] } }", "many",
    )  # fmt: skip
    file = PackFile(tmp_path / "packs.parquet")
    file.write(make_packs(spec.expand(), lambda run: 2500))
    assert file.path.stat().st_size < 40 * 10_000  # bytes, of 10,000 runs: the ids cannot be compressed below 16
