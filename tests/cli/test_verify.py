"""`relusweep verify`, and the repair of what it names."""

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store
from relusweep.sweep.tally import Tally


def test_status_and_verify_count_only_what_the_present_spec_plans(
    cli: Callable[..., Any], tiny: Callable[..., Path], store: Path
) -> None:
    Store(store).write_spec(tiny(grid="lr = [0.07], seed = [0, 1, 2, 3]").read_text())
    verified = cli("verify", store)
    assert verified.code == 1
    assert f"{store}: planned 4 = recorded 0 + missing 4" in verified.out
    assert "4 recorded runs belong to an earlier spec" in verified.out
    assert cli("status", store).out.startswith("0/4 runs")


def test_what_a_launcher_records_meanwhile_is_of_no_earlier_spec(
    cli: Callable[..., Any], tiny: Callable[..., Path], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Tally.look

    def look(tally: Tally) -> None:
        if not (store / "runs" / "pack-new.parquet").exists():
            rows = Store(store).read()[0].to_pylist()
            run = Spec.read(store / "spec.toml").run(0).model_copy(update={"seed": 7})
            Store(store).write("new", {"runs": [rows[0] | run.model_dump() | {"run_id": run.id}]}, {})
        looked(tally)

    Store(store).write_spec(tiny(grid="lr = [0.05, 1e6], seed = [0, 1, 7]").read_text())
    monkeypatch.setattr(Tally, "look", look)
    said = cli("verify", store)
    assert f"{store}: planned 6 = recorded 5 + missing 1\n" in said.out
    assert "earlier spec" not in said.out


def test_parts_that_the_file_system_refuses_are_no_numbers(
    cli: Callable[..., Any], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(part: Path) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr("relusweep.sweep.store.small_file._WAITS", ())
    monkeypatch.setattr("relusweep.sweep.store.part._refuse_strange", refused)
    said = cli("verify", store)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "cannot be read" in said.err


def test_verify_lists_what_is_missing_and_says_what_to_do(
    cli: Callable[..., Any], tiny: Callable[..., Path], store: Path
) -> None:
    text = tiny(grid="lr = [0.05], seed = { range = [0, 30] }").read_text()
    Store(store).write_spec(text)
    missing = [run.id for run in Spec.parse(text, "spec").expand()][2:]
    said = cli("verify", store)
    assert said.code == 1
    assert f"{store}: planned 30 = recorded 2 + missing 28\n" in said.out
    assert [line for line in said.out.splitlines() if line.startswith("missing")] == [
        *(f"missing: {run_id}" for run_id in missing[:20]), "missing: … and 8 more"
    ]  # fmt: skip
    assert f"The same `relusweep run` trains what is missing and sets broken parts aside: --out {store}" in said.out


@pytest.mark.parametrize("how", ["half", "empty", "ids", "loss", "not parquet"])
@pytest.mark.parametrize("table", ["runs", "trajectories", "weights"])
def test_corrupt_part_is_named_set_aside_and_redone(
    cli: Callable[..., Any],
    kept: Path,
    store: Path,
    equal_tables: Callable[[Path, Path], None],
    table: str,
    how: str,
) -> None:
    (part,) = Store(store).parts(table)
    content = bytearray(part.read_bytes())
    if how in ("half", "empty"):
        content = content[: len(content) // 2 if how == "half" else 0]
    elif how == "not parquet":
        content = bytearray(b"not a part")
    else:
        group = pq.read_metadata(part).row_group(0)
        wanted = {"ids": "run_id", "loss": {"weights": "w1.list.element"}.get(table, "loss")}[how]
        (column,) = [c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == wanted]
        start = column.dictionary_page_offset or column.data_page_offset
        content[start + column.total_compressed_size - 3] ^= 0x40  # in the middle of its data page
    part.write_bytes(content)

    verified = cli("verify", store)
    assert verified.code == 1
    assert f"broken: {part}: " in verified.out

    again = cli("run", store / "spec.toml", "--out", store, "--workers", 1)
    assert again.code == 0
    (aside,) = [path for path in (store / "aside").iterdir() if path.read_bytes() == content]
    (line,) = [line for line in again.err.splitlines() if line.startswith(f"{part}: broken (")]
    assert f"set aside as {aside}" in line
    equal_tables(store, kept)
    assert cli("verify", store).code == 0


@pytest.mark.parametrize("name", [b"lost", b"los\xff"])
def test_damaged_name_of_a_column_breaks_its_part(cli: Callable[..., Any], store: Path, name: bytes) -> None:
    (part,) = Store(store).parts()
    content = part.read_bytes()
    (length,) = struct.unpack("<I", content[-8:-4])  # of the footer, which has no checksum
    place = content.index(b"\x18\x04loss", len(content) - 8 - length)
    part.write_bytes(content[: place + 2] + name + content[place + 6 :])
    said = cli("verify", store)
    assert said.code == 1
    assert f"broken: {part}: " in said.out
    assert cli("run", store / "spec.toml", "--out", store, "--workers", 1).code == 0
    assert None not in [row["loss"] for row in Store(store).read()[0].to_pylist() if row["status"] == "budget"]


def test_verify_counts_rows_that_are_there_twice_and_compaction_drops_them(
    cli: Callable[..., Any], store: Path
) -> None:
    part = Store(store).parts()[0]
    (part.parent / "pack-again.parquet").write_bytes(part.read_bytes())
    said = cli("verify", store)
    assert f"4 rows of runs/ are there twice: reports count them once. relusweep compact {store}" in said.out
    assert said.code == 0
    assert cli("compact", store).code == 0
    assert "twice" not in cli("verify", store).out
    assert pq.read_table(store / "runs").num_rows == 4


@pytest.mark.parametrize("table", ["trajectories", "weights"])
def test_verify_misses_rows_that_runs_promises(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, table: str
) -> None:
    store = tmp_path / "another"
    spec = tiny(measure="every = 'log:3'\nsave_weights = true")
    assert cli("run", spec, "--out", store).code == 0
    assert cli("verify", store).code == 0
    for part in Store(store).parts(table):
        part.unlink()
    said = cli("verify", store)
    assert f"4 recorded runs lack their rows in {table}/. Bring them back" in said.out
    assert said.code == 1
