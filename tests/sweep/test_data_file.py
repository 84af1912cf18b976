"""Data file: points of three kinds of files are the same numbers, and whatever is wrong is one line with its place."""

import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relusweep.sweep import array_file
from relusweep.sweep.data_file import READERS, read
from relusweep.sweep.dataset import DataError

X, Y = np.array([[0.1, 1], [1 / 3, -2], [0.3, 1e-7]]), np.array([0.5, -0.0, 2.5])
TABLE = "u,v,y\n0.1,1,0.5\n0.3333333333333333,-2,0\n0.3,1e-7,2.5\n"


def npz(**arrays: object) -> bytes:
    content = io.BytesIO()
    np.savez(content, **{name: np.asarray(array) for name, array in arrays.items()})
    return content.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def parquet(**columns: object) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    return content.getvalue()


def twice_named() -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table([pa.array([1.0]), pa.array([1.0]), pa.array([1.0])], ["u", "u", "y"]), content)
    return content.getvalue()


def test_three_kinds_of_files_hold_the_same_numbers(tmp_path: Path) -> None:
    contents = {"a.npz": npz(x=X, y=Y), "a.csv": TABLE.encode(), "a.parquet": parquet(u=X[:, 0], v=X[:, 1], y=Y)}
    assert {Path(name).suffix for name in contents} == set(READERS)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        found = read(tmp_path / name)
        assert (found.x.tolist(), found.y.tolist()) == (X.tolist(), [0.5, 0.0, 2.5])
        assert not np.signbit(found.y).any()  # the two zeros are one number
        assert (found.x_test.shape, found.y_test.shape) == ((0, 2), (0,))


def test_test_set_of_arrays_is_read_whatever_else_is_there(tmp_path: Path) -> None:
    content = npz(x=X.T.copy().T, y=Y, x_test=np.ones((4, 2), np.float32), y_test=[1, 2, 3, 4], notes=["a", "b"])
    (tmp_path / "a.npz").write_bytes(content)
    found = read(tmp_path / "a.npz")
    assert found.x.flags.c_contiguous
    assert found.x_test.tolist() == [[1, 1]] * 4
    assert found.y_test.tolist() == [1, 2, 3, 4]


def test_columns_are_chosen_by_name_and_others_may_hold_anything(tmp_path: Path) -> None:
    names, text = ("a.csv", "a.parquet"), "\ufeffname, v,u,t\nfirst,1,2,3\nsecond,4,5,6\n"  # with a mark, as editors do
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    (tmp_path / "a.parquet").write_bytes(parquet(name=["first", "second"], v=[1, 4], u=[2, 5], t=[3.0, 6.0]))
    for name in names:
        found = read(tmp_path / name, "u,v" if name == "a.parquet" else "u, v", "t")
        assert (found.x.tolist(), found.y.tolist()) == ([[2, 1], [5, 4]], [3, 6])


NO_NUMBER = {"descr": "'|O'", "fortran_order": "False", "shape": "(3,)"}
LIES = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 2)}"
SHORT = "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2)}"
HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "nan": ("a.npz", npz(x=np.array([[0, 1], [np.nan, 1]]), y=[1, 2]), "x, row 2, column 1: nan; expected a finite"),
    "inf": ("a.npz", npz(x=X, y=[0, np.inf, 1]), "y, row 2, column 1: inf; expected a finite number"),
    "missing": ("a.npz", npz(X=X, y=Y), "no array 'x', got 'X', 'y'; expected x, y"),
    "half a test set": ("a.npz", npz(x=X, y=Y, x_test=X), "no array 'y_test', got .*; expected x, y, x_test, y_test"),
    "flat x": ("a.npz", npz(x=Y, y=Y), r"x has the shape \(3,\); expected \(rows, d\). Use x\[:, None\]"),
    "column y": ("a.npz", npz(x=X, y=Y[:, None]), r"y has the shape \(3, 1\); expected \(rows,\). Use y\[:, 0\]"),
    "lengths": ("a.npz", npz(x=X, y=[1, 2]), "x has 3 rows and y has 2; expected as many"),
    "no rows": ("a.npz", npz(x=np.zeros((0, 2)), y=[]), r"x has the shape \(0, 2\); expected at least one row"),
    "no columns": ("a.npz", npz(x=np.zeros((3, 0)), y=Y), r"x has the shape \(3, 0\); expected at least one row"),
    "other d": ("a.npz", npz(x=X, y=Y, x_test=[[1]], y_test=[1]), "x_test has 1 columns; expected 2, as x"),
    "objects": ("a.npz", npz(x=np.array([[1, None]], object), y=[1]), "x holds object, no real numbers"),
    "texts": ("a.npz", npz(x=[["1", "2"]], y=[1]), "x holds <U1, no real numbers; expected an array of floats"),
    "whole": ("a.npz", npz(x=X, y=np.array([1, -(2**53) - 1, 2])), "y, row 2, column 1: -9007199254740993 would be rounded"),
    "whole and unsigned": ("a.npz", npz(x=np.array([[1, 2**64 - 1]], np.uint64), y=[1]), "x, row 1, column 2: 18446744073709551615 would"),
    "complex": ("a.npz", npz(x=X + 1j, y=Y), "x holds complex128, no real numbers"),
    "records": ("a.npz", npz(x=X, y=np.zeros(3, "f8,i4")), "y holds .*, no real numbers"),
    "scalar": ("a.npz", npz(x=X, y=1.0), r"y has the shape \(\); expected \(rows,\)"),
    "header lies": ("a.npz", zipped({"x.npy": npy(LIES), "y.npy": npy(LIES.replace(", 2)", ",)"))}), "GiB of numbers; expected at most 1 GiB"),
    "data cut short": ("a.npz", zipped({"x.npy": npy(SHORT), "y.npy": npy(SHORT.replace("(3, 2)", "(3,)"))}), "cannot be read"),
    "data too long": ("a.npz", zipped({"x.npy": npy(SHORT, bytes(60)), "y.npy": npy(SHORT.replace("(3, 2)", "(3,)"), bytes(24))}), "cannot be read .x is longer"),
    "negative": ("a.npz", zipped({"x.npy": npy(SHORT.replace("3, 2", "-3, 2")), "y.npy": npy(SHORT.replace("(3, 2)", "(-3,)"))}), r"has the shape \(-3"),
    "no header": ("a.npz", zipped({"x.npy": b"hello", "y.npy": b""}), "cannot be read"),
    "code in a header": ("a.npz", zipped({"x.npy": npy("__import__('os').abort()"), "y.npy": b""}), "cannot be read"),
    "bomb": ("a.npz", zipped({"x.npy": npy(" " * 60_000)[:-1] + bytes(10**8), "y.npy": b""}, zipfile.ZIP_DEFLATED), "cannot be read"),
    "no zip": ("a.npz", b"PK\x03\x04 and no more", "cannot be read .*; expected a .npz file"),
    "one array": ("a.npz", npy(SHORT, bytes(48)), "cannot be read .*; expected a .npz file"),
    "empty": ("a.csv", b"", "empty; expected points"),
    "header only": ("a.csv", b"u,y\n", "no rows under the header; expected points"),
    "blank": ("a.csv", b"\n\n\n", "cannot be read"),
    "text": ("a.csv", b"u,y\n1,2\n 1 ,2\nabc,3\n", "row 3, column 'u': 'abc' is no number; expected one"),
    "comma": ("a.csv", b'u,y\n1,2\n"1,5",2\n', "row 2, column 'u': '1,5' is no number"),
    "empty cell": ("a.csv", b"u,y\n1,2\n,3\n", "row 2, column 'u': empty; expected a number"),
    "NA": ("a.csv", b"u,y\n1,2\n1,NA\n", "row 2, column 'y': 'NA' is no number"),
    "nan cell": ("a.csv", b"u,y\n1,2\n1,nan\n", "row 2, column 'y': nan; expected a finite number"),
    "overflow": ("a.csv", b"u,y\n1,2\n1e999,3\n", "row 2, column 'u': .*(inf|no number)"),
    "escape": ("a.csv", b"u,y\n\x1b[2J,2\n", "row 1, column 'u': '.x1b.2J' is no number"),
    "ragged": ("a.csv", b"u,v,y\n1,2,3\n1,2\n", r"row 2: 2 value.s.; expected 3, as the header"),
    "semicolons": ("a.csv", b"u;y\n1;2\n", "one column, 'u;y'; expected commas"),
    "tabs": ("a.csv", b"u\ty\n1\t2\n", "one column, .*; expected commas"),
    "headless": ("a.csv", b"0.1,0.2\n0.3,0.4\n", "no header, the first line is numbers; expected names, one of them 'y'"),
    "no y": ("a.csv", b"u,target\n1,2\n", "no column 'y'; expected one of 'u', 'target'. Name it by y_column"),
    "y alone": ("a.csv", b"y\n1\n", "features none and target 'y'; expected one feature at least"),
    "twice": ("a.csv", b"u,u,y\n1,2,3\n", "column 'u' is there twice; expected each name once"),
    "utf-16": ("a.csv", "u,y\n1,2\n".encode("utf-16"), "a.csv: "),
    "binary": ("a.csv", bytes(range(256)) * 9, "a.csv: "),
    "not parquet": ("a.parquet", b"PAR1 and no more PAR1", "cannot be read .*; expected a .parquet file"),
    "null": ("a.parquet", parquet(u=[1.0, None], y=[1, 2]), "row 2, column 'u': empty; expected a number"),
    "text column": ("a.parquet", parquet(u=["1"], y=[1]), "column 'u' holds string; expected numbers. Choose others by x_columns"),
    "list column": ("a.parquet", parquet(u=[[1.0]], y=[1]), "column 'u' holds list"),
    "nan column": ("a.parquet", parquet(u=[1.0], y=[np.nan]), "row 1, column 'y': nan; expected a finite number"),
    "too whole": ("a.parquet", parquet(u=[1, 2**53 + 1], y=[1, 2]), "row 2, column 'u': 9007199254740993 would be rounded"),
    "no points": ("a.parquet", parquet(u=pa.array([], pa.float64()), y=pa.array([], pa.float64())), "no rows"),
    "two columns": ("a.parquet", twice_named(), "column 'u' is there twice; expected each name once"),
    "unknown": ("a.txt", b"u,y\n1,2\n", "unknown kind of file; expected a name that ends in .npz, .csv, .parquet"),
    "no ending": ("a", b"u,y\n1,2\n", "unknown kind of file"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file_is_refused_in_one_line_with_its_place_and_little_memory(tmp_path: Path, case: str) -> None:
    name, content, message = HOSTILE[case]
    (tmp_path / name).write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("folder.csv", "zero.npz", "pipe.csv"):
        with pytest.raises(DataError, match=f"{name}: not a file; expected one with the points"):
            read(tmp_path / name)
    with pytest.raises(DataError, match=r"gone.csv: no such file; .* relusweep run STORE/spec.toml --out STORE$"):
        read(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "nul\0.csv")


def test_file_of_many_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    for name in ("a.npz", "a.csv", "a.parquet"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(2**31)  # of holes
        with pytest.raises(DataError, match=f"{name}: 2.0 GiB of numbers; expected at most 1 GiB. Take fewer points"):
            read(tmp_path / name)


def test_table_that_grows_while_it_is_read_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.zeros(3000)
    (tmp_path / "a.parquet").write_bytes(parquet(u=rows, y=rows))
    (tmp_path / "a.csv").write_text("u,y\n" + "0,0\n" * 3000)
    monkeypatch.setattr(array_file, "MOST_BYTES", 2**15)
    for name in ("a.parquet", "a.csv"):
        with pytest.raises(DataError, match="of numbers; expected at most"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("x_columns", "y_column", "message"),
    [
        ("u,w", None, "no column 'w'; expected one of 'u', 'v', 'y'. Correct x_columns"),
        (None, "t", "no column 't'; .* Name it by y_column"),
        ("u,u", None, "features 'u', 'u' and target 'y'; expected one feature at least, no column twice"),
        ("u,y", None, "features 'u', 'y' and target 'y'; expected one feature at least, no column twice"),
    ],
)
def test_columns_that_are_not_there_are_named(
    tmp_path: Path, x_columns: str | None, y_column: str | None, message: str
) -> None:
    (tmp_path / "a.csv").write_text(TABLE)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.csv", x_columns, y_column)


def test_arrays_have_no_columns_to_choose(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(npz(x=X, y=Y))
    with pytest.raises(DataError, match="expected neither x_columns nor y_column"):
        read(tmp_path / "a.npz", "u")


WHOLE = {
    ".npz": npz(x=X, y=Y, x_test=X, y_test=Y),
    ".csv": TABLE.encode(),
    ".parquet": parquet(u=X[:, 0], v=X[:, 1], y=Y),
}


@given(
    st.sampled_from(sorted(WHOLE)),
    st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4), st.integers(0, 4)), max_size=6),
    st.booleans(),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_spoiled_bytes_are_finite_numbers_or_one_line(
    tmp_path: Path, ending: str, changes: list[tuple[int, bytes, int]], cut: bool
) -> None:
    content = bytearray(WHOLE[ending])
    for place, put, gone in changes:
        start = place % (len(content) + 1)
        content[start : start + gone] = put
    if cut and changes:
        del content[changes[0][0] % (len(content) + 1) :]
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    try:
        found = read(path)
    except DataError as error:
        said = str(error)
    else:
        said = f"{path}: sound"
        assert all(np.isfinite(array).all() for array in (found.x, found.y, found.x_test, found.y_test))
        assert found.x.shape == (len(found.y), found.x_test.shape[1])
    assert said.startswith(f"{path}: ")
    assert said.isprintable()
