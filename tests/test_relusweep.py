"""The command line: what each command says, and that whatever is wrong is said in one line and changes nothing."""

import gzip
import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from relusweep import main
from sweep.spec import Spec
from sweep.store import Store

FIXED = "name = 's'\n[fixed]\nproblem = 'sine'\n"
GRID = "[[block]]\ngrid = { lr = [0.1] }\n"
DIGITS = "name = 's'\n[fixed]\nproblem = 'digits'\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, and forget what `--data` sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELUSWEEP_DATA", "data/mnist")


@pytest.fixture
def refused(cli: Callable[..., Any], tree: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """Run a command that is misuse: exit code 2, one line of error, no output, nothing changed. Gives the line."""

    def call(*arguments: object) -> str:
        before = tree(tmp_path)
        said = cli(*arguments)
        assert (said.code, said.out) == (2, ""), said
        assert said.err.count("\n") == 1, said.err
        assert said.err.endswith("\n")
        assert "Traceback" not in said.err
        assert tree(tmp_path) == before
        return said.err

    return call


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, tiny_text: Callable[..., str]) -> Path:
    """A store of 4 runs with moments and weights, of which one has diverged."""
    folder = tmp_path_factory.mktemp("kept")
    text = tiny_text(grid="lr = [0.05, 1e6], seed = [0, 1]", measure="every = 'log:3'\nsave_weights = true")
    (folder / "tiny.toml").write_text(text)
    assert main(["run", str(folder / "tiny.toml"), "--out", str(folder / "store"), "--workers", "1"]) == 0
    return folder / "store"


@pytest.fixture
def store(kept: Path, tmp_path: Path) -> Path:
    """A copy of that store, to be spoiled."""
    shutil.copytree(kept, tmp_path / "store")
    return tmp_path / "store"


def ids(store: Path, status: str = "budget") -> list[str]:
    rows = Store(store).read("runs", ["run_id", "status"])[0].to_pylist()
    return sorted(row["run_id"] for row in rows if row["status"] == status)


# Specs ---------------------------------------------------------------------------------------------------------------

MALFORMED = {
    "not_toml": ("name = 's'\n[fixed\n", "s.toml: not valid TOML: ", "line 2"),
    "key_twice": ("name = 's'\nname = 't'\n", "s.toml: not valid TOML: Cannot overwrite a value"),
    "not_text": (b"name = 's'\n\xff\xfe", "s.toml: not a text file; expected a spec in TOML, UTF-8."),
    "binary": (bytes(range(256)), "s.toml: not a text file"),
    "empty": ("", "s.toml: name: missing; expected it here"),
    "no_block": (FIXED, "s.toml: block: missing"),
    "empty_block_list": ("name = 's'\nblock = []\n", "s.toml: block = []; expected"),
    "block_is_a_table": (FIXED + "[block]\ngrid = { lr = [0.1] }\n", "s.toml: block = {", "expected one table or more"),
    "name_is_a_path": ("name = '../s'\n" + GRID, "s.toml: name = '../s'; expected letters, digits"),
    "name_is_a_number": ("name = 3\n" + GRID, "s.toml: name = 3; expected letters, digits"),
    "unknown_table": (FIXED + GRID + "[measures]\nevery = 'end'\n", "unknown key; did you mean `measure`?"),
    "unknown_block_key": (FIXED + "[[block]]\ngird = { lr = [0.1] }\n", "block[0].gird: unknown key; did you mean `grid`?"),
    "unknown_fixed_key": (FIXED + "widht = 8\n" + GRID, "s.toml: fixed.widht: unknown parameter; did you mean `width`?"),
    "unknown_axis": (FIXED + "[[block]]\ngrid = { lr = [0.1], sed = [1] }\n", "unknown parameter `sed`", "`seed`"),
    "far_from_any_key": (FIXED + "qqqqq = 8\n" + GRID, "fixed.qqqqq: unknown parameter; known: problem, d, n,"),
    "wrong_type": (FIXED + "width = '8'\n" + GRID, "s.toml: fixed.width = '8'; expected a valid integer"),
    "float_for_integer": (FIXED + "width = 8.0\n" + GRID, "s.toml: fixed.width = 8.0; expected a valid integer"),
    "boolean_for_integer": (FIXED + "seed = true\n" + GRID, "fixed.seed = True; expected a valid integer"),
    "list_for_value": (FIXED + "width = [8]\n" + GRID, "s.toml: fixed.width = [8]; expected a valid integer"),
    "date_for_number": (FIXED + "[[block]]\ngrid = { lr = [1979-05-27] }\n", "block[0].grid.lr[0] = datetime.date"),
    "negative_lr": (FIXED + "[[block]]\ngrid = { lr = [0.1, -0.1] }\n", "grid.lr[1] = -0.1; expected greater than 0"),
    "nan_lr": (FIXED + "[[block]]\ngrid = { lr = [nan] }\n", "block[0].grid.lr[0] = nan; expected"),
    "infinite_lr": (FIXED + "[[block]]\ngrid = { lr = [inf] }\n", "block[0].grid.lr[0] = inf; expected a finite number"),
    "huge_integer": (FIXED + f"seed = {2**70}\n" + GRID, "fixed.seed = 1180591620717411303424; expected less than"),
    "zero_steps": (FIXED + "max_steps = 0\n" + GRID, "fixed.max_steps = 0; expected greater than or equal to 1"),
    "empty_axis": (FIXED + "[[block]]\ngrid = { lr = [] }\n", "block[0].grid.lr: empty axis, got []; expected at least"),
    "empty_range": (FIXED + "[[block]]\ngrid = { lr = [1.0], seed = { range = [5, 5] } }\n", "grid.seed: empty axis"),
    "endless_range": (FIXED + "[[block]]\ngrid = { lr = [1.0], seed = { range = [0, 5, 0] } }\n", "whole numbers"),
    "scalar_axis": (FIXED + "[[block]]\ngrid = { lr = 0.1 }\n", "block[0].grid.lr = 0.1; expected a list, { log ="),
    "unknown_axis_form": (FIXED + "[[block]]\ngrid = { lr = { lin = [0, 1, 2] } }\n", "expected a list, { log ="),
    "log_from_zero": (FIXED + "[[block]]\ngrid = { lr = { log = [0, 1, 3] } }\n", "expected finite ends, above 0"),
    "axis_twice": (
        FIXED + "[[block]]\nfixed = { lr = 0.1 }\ngrid = { lr = [0.1] }\n",
        "block[0]: lr is given in both fixed and grid; expected it once.",
    ),
    "unequal_zip": (
        FIXED + "[[block]]\nzip = { lr = [0.1, 0.2], seed = [1] }\n", "zip: lists of different lengths, got {'lr': 2,"
    ),
    "random_without_count": (
        FIXED + "[[block]]\nrandom = { lr = { uniform = [0.1, 1] } }\n", "random.count = None; expected a whole number"
    ),
    "random_law": (
        FIXED + "[[block]]\nrandom = { count = 2, lr = { normal = [0, 1] } }\n", "expected { uniform = [lo, hi] }"
    ),
    "too_many_runs": (
        FIXED + "[[block]]\ngrid = { lr = { linear = [0.1, 1, 9999] }, seed = { range = [0, 9999] } }\n", "Thin out"
    ),
    "missing_problem": ("name = 's'\n" + GRID, "block[0]: problem is missing; expected one of digits, mnist, pyramid"),
    "unknown_problem": ("name = 's'\n[fixed]\nproblem = 'digit'\n" + GRID, "problem", "Did you mean 'digits'?"),
    "unknown_optimizer": (FIXED + "optimizer = 'adma'\n" + GRID, "fixed.optimizer = 'adma'; expected", "'adam'?"),
    "missing_lr": (FIXED + "[[block]]\ngrid = { seed = [1] }\n", "block[0]: lr: missing; expected it here or in [fixed]"),
    "unknown_study": ("study = 'stabilty'\n" + FIXED + GRID, "study = 'stabilty': unknown study", "`stability`?"),
    "gd_with_batches": (FIXED + "batch_size = 4\n" + GRID, "batch_size = 4; gd takes all samples. Use optimizer = 'sgd'"),
    "batch_above_n": (FIXED + "n = 8\nbatch_size = 9\noptimizer = 'sgd'\n" + GRID, "batch_size = 9; expected at most n"),
    "key_of_another_problem": (FIXED + "classes = '0,1'\n" + GRID, "problem sine ignores it. Leave it out."),
    "key_of_another_depth": (FIXED + "width2 = 4\n" + GRID, "width2 = 4; it needs depth = 2. Leave it out."),
    "digits_of_another_size": (DIGITS + "d = 63\n" + GRID, "d = 63; digits has d = 64. Leave d out."),
    "same_class_twice": (DIGITS + "classes = '1,1'\n" + GRID, "classes = '1,1'; expected two different digits"),
    "more_digits_than_there_are": (DIGITS + "n = 300\nn_test = 200\n" + GRID, "class 0 has 178 images, got n = 300"),
    "measure_never": (FIXED + GRID + "[measure]\nevery = 'log:0'\n", "measure.every = 'log:0'; expected 'end', or 'log:N'"),
    "measure_key": (FIXED + GRID + "[measure]\nsave_weight = true\n", "measure.save_weight: unknown key", "`save_weights`"),
    "mnist_without_files": (FIXED.replace("sine", "mnist") + GRID, "data/mnist: no file train-images-idx3-ubyte or"),
    "data_beyond_memory": (FIXED + "n = 2000000000\nd = 2000000\n" + GRID, "2000000000"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_spec_is_one_line_with_place_value_and_cure(
    refused: Callable[..., str], tmp_path: Path, case: str, command: str
) -> None:
    content, *words = MALFORMED[case]
    (tmp_path / "s.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refused(command, "s.toml", "--out", "store")
    for word in words:
        assert word in line


def test_run_that_fits_no_worker_is_refused_before_anything_is_written(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "s.toml").write_text(FIXED + "width = 2147483647\nd = 1000\nn = 1\n" + GRID)
    assert "width = 2147483647 takes" in refused("run", "s.toml", "--out", "store", "--workers", 1)


# MNIST files ---------------------------------------------------------------------------------------------------------


def idx(values: np.ndarray, magic: int | None = None) -> bytes:
    header = struct.pack(">I", 0x800 + values.ndim if magic is None else magic)
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.astype(np.uint8).tobytes()


IMAGES, LABELS = idx(np.zeros((40, 28, 28))), idx(np.arange(40) % 2)
SQUEEZED = gzip.compress(idx(np.arange(40 * 784).reshape(40, 28, 28)))
MNIST = {
    "images_cut_short": (IMAGES[:-1], LABELS, "train-images-idx3-ubyte: cut short, got 31359 bytes; expected 31360"),
    "header_cut_short": (IMAGES[:7], LABELS, "train-images-idx3-ubyte: not an IDX file of bytes with 3 dimension"),
    "not_idx": (b"<html>404</html>" * 9, LABELS, "train-images-idx3-ubyte: not an IDX file"),
    "labels_as_images": (LABELS, LABELS, "train-images-idx3-ubyte: not an IDX file of bytes with 3 dimension"),
    "labels_of_another_set": (IMAGES, idx(np.zeros(39)), "do not belong together, got 40 images and 39 labels"),
    "no_labels": (IMAGES, None, "no file train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz; expected MNIST"),
    "other_size": (idx(np.zeros((40, 8, 8))), LABELS, "images of 8 × 8 pixels, expected 28 × 28"),
    "too_few": (IMAGES, idx(np.zeros(40)), "class 0 has 40 images", "Lower n or n_test"),
    "no_images": (idx(np.zeros((0, 28, 28))), idx(np.zeros(0)), "data"),
    "gzip_cut_short": (SQUEEZED[:-20], LABELS, "train-images-idx3-ubyte.gz: cannot be read", "Fetch it again"),
    "gzip_damaged": (SQUEEZED[:90] + b"\xff" * 40 + SQUEEZED[130:], LABELS, "train-images-idx3-ubyte.gz: cannot be"),
    "gzip_by_name_only": (b"\x1f\x8b" + IMAGES[2:], LABELS, "train-images-idx3-ubyte.gz: cannot be read"),
}


@pytest.mark.parametrize("case", MNIST)
def test_malformed_mnist_file_is_named_with_its_cure(refused: Callable[..., str], tmp_path: Path, case: str) -> None:
    images, labels, *words = MNIST[case]
    (tmp_path / "data").mkdir()
    assert isinstance(images, bytes)
    ending = ".gz" if images[:2] == b"\x1f\x8b" else ""
    (tmp_path / "data" / f"train-images-idx3-ubyte{ending}").write_bytes(images)
    if isinstance(labels, bytes):
        (tmp_path / "data" / "train-labels-idx1-ubyte").write_bytes(labels)
    (tmp_path / "s.toml").write_text(FIXED.replace("sine", "mnist") + "n = 50\nn_test = 50\n" + GRID)
    line = refused("run", "s.toml", "--out", "store", "--data", tmp_path / "data")
    for word in words:
        assert str(word) in line


# Commands and paths --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["rum"], "No such command 'rum'"),
        (["run"], "Missing argument 'SPEC'"),
        (["run", "tiny.toml", "--wrkers", "2"], "No such option: --wrkers"),
        (["run", "tiny.toml", "more"], "Got unexpected extra argument"),
        (["run", "tiny.toml", "--out"], "Option '--out' requires an argument"),
        (["run", "tiny.toml", "--on", "moon"], "--on moon: unknown back-end; expected one of local"),
        (["run", "tiny.toml", "--workers", "0"], "Invalid value for '--workers'"),
        (["run", "tiny.toml", "--workers", "two"], "Invalid value for '--workers'"),
        (["run", "tiny.toml", "--checkpoint-minutes", "-1"], "Invalid value for '--checkpoint-minutes'"),
        (["run", "tiny.tml"], "tiny.tml: no spec (No such file or directory)"),
        (["run", "dmo"], "dmo: no spec (No such file or directory); did you mean 'demo'?"),
        (["run", "folder"], "folder: no spec (Is a directory)"),
        (["run", "tiny.toml/spec"], "tiny.toml/spec: no spec (Not a directory)"),
        (["plan", "tiny.toml", "--on", "moon"], "--on moon: unknown back-end"),
        (["run", "tiny.toml", "--out", "folder"], "folder: a directory with other files in it, no relusweep store"),
        (["run", "tiny.toml", "--out", "tiny.toml"], "tiny.toml: "),
        (
            ["run", "tiny.toml", "--out", "tiny.toml/store"],
            "tiny.toml/store: a file stands where a directory is needed",
        ),
        (["plan", "tiny.toml", "--out", "folder"], "folder: a directory with other files in it, no relusweep store"),
        (["status", "nowhere"], "nowhere: no such directory; expected a store written by `relusweep run`"),
        (["watch", "nowhere"], "nowhere: no such directory"),
        (["verify", "folder"], "folder: not a relusweep store (no readable store.json)"),
        (["compact", "tiny.toml"], "tiny.toml: "),
        (["report", "nowhere"], "nowhere: no such directory"),
        (["report"], "Missing argument 'DIR...'"),
        (["replay", "nowhere", "abc"], "nowhere: no such directory"),
        (["replay", "folder"], "Missing argument"),
        (["export", "folder", "abc", "x.npz"], "folder: not a relusweep store"),
        (
            ["status", "other-version"],
            "other-version: schema 999, this version reads 1. Use the relusweep that wrote it",
        ),
        (["run", "tiny.toml", "--out", "other-version"], "other-version: schema 999, this version reads 1"),
        (["status", "broken-marker"], "broken-marker: not a relusweep store (no readable store.json)"),
        (["status", "list-marker"], "list-marker: not a relusweep store (no readable store.json)"),
    ],
    ids=lambda value: "-".join(value).replace("/", "|") if isinstance(value, list) else "",
)
def test_misused_command_or_path_is_one_line(
    refused: Callable[..., str], tiny: Callable[..., Path], tmp_path: Path, command: list[str], words: str
) -> None:
    tiny()
    folders = {
        "folder": None,
        "other-version": '{"relusweep_schema_version": 999}',
        "broken-marker": "{",
        "list-marker": "[]",
    }
    for folder, marker in folders.items():
        (tmp_path / folder).mkdir()
        name = "notes.txt" if marker is None else "store.json"
        (tmp_path / folder / name).write_text(marker or "mine")
    assert words in refused(*command)


def test_no_command_gives_the_help(cli: Callable[..., Any]) -> None:
    said, asked = cli(), cli("--help")
    assert asked.code == 0
    assert asked.out.startswith("Usage: ") or "Usage: " in asked.out.splitlines()[1]
    assert said.code == 2
    assert "relusweep: Usage" not in said.err


def test_path_may_hold_any_character(cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path) -> None:
    spec = tiny(max_steps=1)
    for name in ("[bold]", "a[/b]", "with space", "ü"):
        said = cli("run", spec, "--out", tmp_path / name, "--workers", 1)
        assert (said.code, said.err) == (0, "")
        assert f"{tmp_path / name}: all 4 runs are recorded" in said.out
        assert f"{tmp_path / name}: planned 4 = recorded 4 + missing 0" in cli("verify", tmp_path / name).out


# Stores --------------------------------------------------------------------------------------------------------------


def test_same_command_again_trains_nothing(cli: Callable[..., Any], store: Path, tree: Callable[..., Any]) -> None:
    before = tree(store)
    said = cli("run", store / "spec.toml", "--out", store, "--workers", 1)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == f"{store}: all 4 runs are recorded. Next: relusweep report {store}"
    assert tree(store) == before


def test_default_store_is_named_for_the_sweep_and_closed_to_others(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    assert cli("run", tiny("mine", max_steps=1), "--workers", 1).code == 0
    assert len(Store.open(tmp_path / "results" / "mine").recorded()) == 4
    assert (tmp_path / "results" / "mine").stat().st_mode & 0o777 == 0o700


def test_more_seeds_train_only_what_is_new(
    cli: Callable[..., Any], tiny: Callable[..., Path], store: Path, rows_on_disk: Callable[..., Any]
) -> None:
    old = {path: path.read_bytes() for path in Store(store).parts()}
    more = tiny(grid="lr = [0.05, 1e6], seed = [0, 1, 2]", measure="every = 'log:3'\nsave_weights = true")
    assert "to train          2" in cli("plan", more, "--out", store).out
    assert cli("run", more, "--out", store, "--workers", 1).code == 0
    assert rows_on_disk(store)["runs"] == 6
    assert {path: path.read_bytes() for path in old} == old
    assert f"{store}: planned 6 = recorded 6 + missing 0" in cli("verify", store).out


def test_store_whose_making_was_interrupted_is_made_whole(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()  # a kill or a full disk came before store.json, which is written first
    (tmp_path / "store" / ".store.json.0123abcd.tmp").touch()
    said = cli("run", tiny(max_steps=1), "--out", "store", "--workers", 1)
    assert (said.code, said.err) == (0, "")
    assert len(Store.open(tmp_path / "store").recorded()) == 4


def test_sweep_of_another_name_is_refused(refused: Callable[..., str], tiny: Callable[..., Path], store: Path) -> None:
    line = refused("run", tiny("other"), "--out", store)
    assert f"{store}: holds the sweep 'tiny', got 'other'; choose another --out, or that name." in line


def test_status_says_how_many_have_ended_and_how(cli: Callable[..., Any], store: Path) -> None:
    said = cli("status", store)
    assert (said.code, said.err) == (0, "")
    assert said.out == "4/4 runs · 0 converged, 2 at budget, 2 diverged\n"


def test_status_and_verify_count_only_what_the_present_spec_plans(
    cli: Callable[..., Any], tiny: Callable[..., Path], store: Path
) -> None:
    Store(store).keep_spec(tiny(grid="lr = [0.07], seed = [0, 1, 2, 3]").read_text())
    verified = cli("verify", store)
    assert verified.code == 1
    assert f"{store}: planned 4 = recorded 0 + missing 4" in verified.out
    assert "4 recorded runs belong to an earlier spec" in verified.out
    assert cli("status", store).out.startswith("0/4 runs")


def test_verify_lists_what_is_missing_and_says_what_to_do(
    cli: Callable[..., Any], tiny: Callable[..., Path], store: Path
) -> None:
    text = tiny(grid="lr = [0.05], seed = { range = [0, 30] }").read_text()
    Store(store).keep_spec(text)
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


# One run -------------------------------------------------------------------------------------------------------------


def test_replay_prints_the_difference_to_the_record(
    cli: Callable[..., Any], store: Path, tree: Callable[..., Any]
) -> None:
    (run_id, _), before = ids(store), tree(store)
    said = cli("replay", store, run_id[:8])
    assert (said.code, said.err) == (0, "")
    assert f"run {run_id}, recorded in a pack of 4 on cpu" in said.out
    rows = {line.split()[0]: line.split()[1:] for line in said.out.splitlines() if line}
    assert float(rows["loss"][-1]) < 1e-9
    assert float(rows["sharpness"][-1]) < 1e-9
    assert rows["status"] == ["budget", "budget"]
    assert tree(store) == before


def test_replay_of_a_diverged_run_diverges_again(cli: Callable[..., Any], store: Path) -> None:
    said = cli("replay", store, ids(store, "diverged")[0])
    assert said.code == 0
    rows = {line.split()[0]: line.split()[1:] for line in said.out.splitlines() if line}
    assert rows["status"] == ["diverged", "diverged"]
    assert rows["loss"] == ["None", "None"]


@pytest.mark.parametrize("saved", [True, False])
def test_export_holds_data_weights_and_record(cli: Callable[..., Any], store: Path, saved: bool) -> None:
    run_id = ids(store)[0]
    if not saved:
        Store(store).parts("weights")[0].unlink()
    said = cli("export", store, run_id, "run.npz")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("wrote run.npz")
    assert ("trained again" in said.out) is not saved
    with np.load("run.npz", allow_pickle=False) as file:
        record = json.loads(str(file["record"]))
        x, y, w1, b1, w2, b2 = (file[name] for name in ("x", "y", "w1", "b1", "w2", "b2"))
        assert set(file.files) == {"x", "y", "x_test", "y_test", "w1", "b1", "w2", "b2", "record"}
    assert record["run_id"] == run_id
    residual = np.maximum(x @ w1.T + b1, 0) @ w2 + b2 - y
    assert (residual**2).mean() / 2 == pytest.approx(record["loss"], rel=1e-9)


def test_export_to_a_name_without_npz_is_refused(refused: Callable[..., str], store: Path) -> None:
    assert "run.npy: expected a name that ends in .npz" in refused("export", store, ids(store)[0], "run.npy")


def test_export_into_no_folder_is_refused(refused: Callable[..., str], store: Path) -> None:
    assert "nowhere/run.npz: " in refused("export", store, ids(store)[0], "nowhere/run.npz")


def test_export_of_a_diverged_run_is_refused(refused: Callable[..., str], store: Path) -> None:
    run_id = ids(store, "diverged")[0]
    line = refused("export", store, run_id, "run.npz")
    assert f"run {run_id}: it diverged after " in line
    assert "there are no weights to export" in line


@pytest.mark.parametrize("command", ["replay", "export"])
def test_run_id_that_names_no_run_or_several_is_refused(refused: Callable[..., str], store: Path, command: str) -> None:
    more = ["run.npz"] if command == "export" else []
    assert "no recorded run with an id that begins with 'xyz'" in refused(command, store, "xyz", *more)
    line = refused(command, store, "", *more)
    assert f"{store}: 4 recorded runs with an id that begins with ''; expected exactly one." in line


def test_store_without_its_spec_is_named(refused: Callable[..., str], store: Path) -> None:
    (store / "spec.toml").unlink()
    assert "spec.toml: no spec (No such file or directory)" in refused("status", store)
    assert "spec.toml: no spec (No such file or directory)" in refused("verify", store)


# Report --------------------------------------------------------------------------------------------------------------


def test_report_of_nothing_or_of_no_study_is_refused(refused: Callable[..., str], store: Path, tmp_path: Path) -> None:
    Store.create(tmp_path / "new")
    assert "new: nothing to report, got 0 recorded runs" in refused("report", "new")
    assert "study = 'stabilty': unknown study" in refused("report", store, "--study", "stabilty")


def test_folder_that_looks_like_a_store_but_has_no_marker_is_left_alone(
    refused: Callable[..., str], tiny: Callable[..., Path], tmp_path: Path, tree: Callable[..., Any]
) -> None:
    for name in ("runs/theirs.parquet", "runs/.x.tmp", "weights/model.bin"):
        (tmp_path / "theirs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "theirs" / name).write_bytes(b"theirs")
    before = tree(tmp_path / "theirs")
    line = refused("run", tiny(), "--out", tmp_path / "theirs")
    assert "a directory with other files in it, no relusweep store; expected a new or empty one" in line
    assert tree(tmp_path / "theirs") == before


def test_asking_for_weights_of_recorded_runs_says_that_they_have_none(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "store"
    assert cli("run", tiny(max_steps=1), "--out", out, "--workers", 1).code == 0
    asked = tiny(max_steps=1, measure="save_weights = true")
    for command in (("run", asked, "--out", out, "--workers", 1), ("verify", out)):
        said = cli(*command)
        assert said.code == 0
        assert "4 runs were recorded before [measure] asked for weights; for theirs, use another --out" in said.out


def test_damaged_plan_of_a_store_is_replaced_by_the_next_run(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "store"
    assert cli("run", tiny(max_steps=1), "--out", out, "--workers", 1).code == 0
    (out / "spec.toml").write_text("x = [")
    assert cli("run", tiny(max_steps=1), "--out", out, "--workers", 1).code == 0
    assert cli("verify", out).code == 0


def test_infinite_parameter_is_text_in_an_exported_record(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "store"
    spec = tiny(grid="lr = [0.1]", max_steps=1, lr_ratio="inf")
    assert cli("run", spec, "--out", out, "--workers", 1).code == 0
    (run_id,) = Store.open(out).recorded()
    assert cli("export", out, run_id, tmp_path / "net.npz").code == 0
    record = json.loads(str(np.load(tmp_path / "net.npz")["record"]), parse_constant=pytest.fail)
    assert record["lr_ratio"] == "inf"
