"""Part: read whole or named as broken; those of earlier versions with the defaults of what they lack."""

import errno
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from relusweep.sweep.record import SCHEMA_VERSION, SCHEMAS
from relusweep.sweep.store.atomic import StoreError
from relusweep.sweep.store.compaction import compact
from relusweep.sweep.store.part import write_part
from relusweep.sweep.store.repair import repair, set_aside
from relusweep.sweep.store.seal import enclosure
from relusweep.sweep.store.store import Store
from tests.sweep.store.conftest import rows


@pytest.mark.parametrize("damage", ["truncate", "empty", "garbage", "flip", "foreign"])
def test_broken_part_is_named_and_its_runs_count_as_missing(store, damage):
    part = store.parts()[0]
    content = part.read_bytes()
    if damage == "foreign":
        pq.write_table(pa.table({"x": [1]}), part)
    else:
        middle = len(content) // 5  # among the pages: the footer, which names all columns, is longer than they are
        flipped = bytes(each ^ 0xFF for each in content[middle : middle + 40])  # more than one page header
        part.write_bytes(
            {"truncate": content[: len(content) // 2], "empty": b"", "garbage": b"x" * 500,
             "flip": content[:middle] + flipped + content[middle + 40 :]}[damage]
        )  # fmt: skip
    table, broken = store.read()
    assert list(broken) == [part]
    assert sorted(table["seed"].to_pylist()) == [3, 4]
    (moved,) = set_aside(store, broken).values()
    assert moved.parent.name == "aside"
    assert not part.exists()
    assert store.read()[1] == {}


def test_part_with_a_status_that_is_none_is_broken(tmp_path):
    made = Store.create(tmp_path / "store")
    made.write("a", {"runs": [row | {"status": "odd"} for row in rows(0)]}, {})
    assert "a status is none of budget, converged, diverged" in next(iter(made.broken("runs").values()))


def strip(part, version, *lacking):
    """Make a part one without these columns, written by that version; None: it names none."""
    older = pq.read_table(part).drop_columns(list(lacking))
    pq.write_table(
        older.replace_schema_metadata(None if version is None else {"relusweep.schema_version": str(version)}), part
    )


@pytest.mark.parametrize("version", [None, 0, SCHEMA_VERSION])
def test_part_without_a_parameter_is_read_with_its_default(store, version):
    part = store.parts()[0]
    strip(part, version, "tolerance", "optimizer", "seed", "radius")
    table, broken = store.read()
    assert not broken
    found = [row for row in table.to_pylist() if row["run_id"] in {each["run_id"] for each in rows(0, 1, 2)}]
    assert {(row["tolerance"], row["optimizer"], row["seed"], row["radius"]) for row in found} == {
        (1e-8, "gd", 0, None)
    }


def test_older_part_without_a_result_is_read_with_nulls_and_one_of_this_version_is_broken(store):
    part = store.parts()[0]
    whole = part.read_bytes()
    for version in (None, SCHEMA_VERSION):
        part.write_bytes(whole)
        strip(part, version, "knot_points")
        assert store.read()[1] == {part: "its columns are not those of this table: it lacks knot_points"}
    part.write_bytes(whole)
    strip(part, 1, "knot_points")
    table, broken = store.read()
    assert not broken
    assert table["knot_points"].null_count == 5


@pytest.mark.parametrize("column", ["run_id", "status", "lr", "problem"])
def test_part_without_what_every_version_has_is_broken(store, column):
    part = store.parts()[0]
    strip(part, 1, column)
    assert store.read()[1] == {part: f"its columns are not those of this table: it lacks {column}"}


def test_part_with_a_column_that_no_version_knows_is_broken_and_says_which(store):
    part = store.parts()[0]
    strange = pq.read_table(part).append_column("clipp", [[1, 2, 3]]).append_column("aim", [[1, 2, 3]])
    pq.write_table(strange, part)
    assert store.read()[1] == {part: "its columns are not those of this table: unknown aim, clipp"}


def test_part_of_a_later_schema_is_broken_and_says_so(store):
    part = store.parts()[0]
    strip(part, 99)
    assert store.read()[1] == {
        part: f"schema 99; this version reads up to {SCHEMA_VERSION}. Use the relusweep that wrote it"
    }


@pytest.fixture
def refusing(monkeypatch):
    """Have the file system refuse so many reads of parts, with this error."""
    monkeypatch.setattr("relusweep.sweep.store.small_file._WAITS", (0.0, 0.0, 0.0))

    def refuse(number, times):
        left = [times]

        def unless_refused(genuine):
            def opened(*given, **options):
                if left[0]:
                    left[0] -= 1
                    raise MemoryError if number is None else OSError(number, os.strerror(number))
                return genuine(*given, **options)

            return opened

        monkeypatch.setattr("relusweep.sweep.store.part.pq.ParquetFile", unless_refused(pq.ParquetFile))
        monkeypatch.setattr("relusweep.sweep.store.part.enclosure", unless_refused(enclosure))

    return refuse


PASSING = [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOMEM, None]


@pytest.mark.parametrize("number", PASSING)
def test_read_that_is_refused_in_passing_is_tried_again(store, refusing, number):
    refusing(number, 2)
    assert repair(store) == {}
    refusing(number, 2)
    assert len(store.recorded()) == 5


@pytest.mark.parametrize("number", PASSING)
def test_read_that_stays_refused_stops_the_command_and_leaves_the_part_alone(store, refusing, number):
    before = [(part, part.read_bytes()) for part in store.parts()]
    refusing(number, -1)
    why = os.strerror(number or errno.ENOMEM)
    for command in (repair, compact, lambda store: store.read(), lambda store: store.recorded()):
        with pytest.raises(StoreError, match=rf"pack-a.parquet: cannot be read \({why}\); expected a file that can"):
            command(store)
    assert [(part, part.read_bytes()) for part in store.parts()] == before
    assert not (store.path / "aside").exists()


def test_part_in_which_a_damaged_size_asks_for_all_memory_is_broken(store, refusing):
    part, other = store.parts()
    other.unlink()
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 1
    part.write_bytes(content)
    refusing(None, -1)
    assert store.broken("runs") == {part: "it differs from what was written"}


@pytest.mark.skipif(os.geteuid() != 0, reason="wants to become another user")
def test_part_of_a_colleague_that_cannot_be_read_is_left_alone(store, monkeypatch):
    monkeypatch.setattr("relusweep.sweep.store.small_file._WAITS", (0.0,))
    part = store.parts()[0]
    part.chmod(0o600)
    for folder in (store.path, *store.path.parents):
        if folder.owner() == "root" and folder != folder.parent and not folder.stat().st_mode & 1:
            folder.chmod(folder.stat().st_mode | 0o755)
    for folder in store.path.iterdir():
        if folder.is_dir():
            folder.chmod(0o777)
    os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match=r"cannot be read \(Permission denied\)"):
            repair(store)
    finally:
        os.seteuid(0)
    assert part.exists()


def flipped(content: bytes, at: list[tuple[int, int]]) -> bytes:
    damaged = bytearray(content)
    for place, bit in at:
        damaged[place] ^= 1 << bit
    return bytes(damaged)


def hostile(content: bytes) -> st.SearchStrategy[bytes]:
    """Flipped bits, cuts, and pieces that stand twice."""
    places = st.integers(0, len(content) - 1)
    flips = st.lists(st.tuples(places, st.integers(0, 7)), min_size=1, max_size=3)
    return st.one_of(
        flips.map(lambda at: flipped(content, at)),
        places.map(lambda end: content[:end]),
        st.tuples(places, places).map(lambda ends: content[: max(ends)] + content[min(ends) :]),
    )


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_lies_in_a_part_it_is_read_as_written_or_broken(store, data):
    part = store.path / "runs" / "pack-a.parquet"
    kept = store.path / "kept"
    content = (kept if kept.exists() else part).read_bytes()
    kept.write_bytes(content)
    part.write_bytes(data.draw(hostile(content)))
    rows, broken = store.read(columns=["seed"])
    assert sorted(rows["seed"].to_pylist()) == ([3, 4] if broken else [0, 1, 2, 3, 4])
    differs = part.read_bytes() != content
    assert len(store.recorded()) == (2 if differs else 5)  # every byte is read, of a part that can be read as well
    assert len(store.broken("runs")) == differs
    assert all("\n" not in why and len(why) <= 200 for why in broken.values())


VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=40))


@pytest.mark.slow
@example("weights_saved", 2.0**31)
@given(st.sampled_from(SCHEMAS["runs"].names), VALUES)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_column_of_other_values_is_taken_or_names_its_part_as_broken(store, name, value):
    part = store.path / "runs" / "pack-a.parquet"
    table = pq.read_table(part)
    kept = table.filter([True, False, False])
    place = table.schema.names.index(name)
    write_part(part, kept.set_column(place, name, pa.array([value])))
    try:
        rows, broken = store.read()
        assert (len(rows), len(broken)) in {(3, 0), (2, 1)}
        assert len(store.recorded()) in {2, 3}
    finally:
        write_part(part, table)


def test_part_that_promises_more_than_it_can_hold_is_broken_before_it_is_read(store, monkeypatch):
    """A thousand million equal rows take a kilobyte, and hours to read; a gigabyte of zeros a hundred kilobytes."""
    part = store.path / "runs" / "pack-a.parquet"
    rows = pq.read_table(part)
    write_part(part, rows.take(pa.array(np.zeros(40_000, np.int64))))
    assert store.broken("runs") == {}
    monkeypatch.setattr("relusweep.sweep.store.part._MOST_ROWS_A_BYTE", 0.01)
    assert store.broken("runs")[part].startswith("its footer promises 40000 rows in ")
    monkeypatch.setattr("relusweep.sweep.store.part._MOST_BYTES", 2**20)
    large = rows.slice(0, 1)
    write_part(part, large.set_column(large.schema.names.index("device"), "device", pa.array(["0" * 2**20])))
    assert part.stat().st_size < 2**17
    assert store.broken("runs")[part].endswith("bytes at a time")
    repair(store)
    assert len(store.recorded()) == 2


def test_pipes_devices_and_folders_are_broken_parts(store):
    os.mkfifo(store.path / "runs" / "pipe.parquet")
    (store.path / "runs" / "device.parquet").symlink_to("/dev/zero")
    (store.path / "runs" / "folder.parquet").mkdir()
    assert {part.stem for part in store.broken("runs")} == {"pipe", "device", "folder"}
    assert len(store.recorded()) == 5
    repair(store)
    assert store.broken("runs") == {}
