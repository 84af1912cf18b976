"""A malformed spec is one line with place, value and cure, whoever reads it."""

from collections.abc import Callable
from pathlib import Path

import pytest

FIXED = "name = 's'\n[fixed]\nproblem = 'sine'\n"
GRID = "[[block]]\ngrid = { lr = [0.1] }\n"
DIGITS = "name = 's'\n[fixed]\nproblem = 'digits'\n"

MALFORMED = {
    "not_toml": ("name = 's'\n[fixed\n", "s.toml: not valid TOML: ", "line 2"),
    "key_twice": ("name = 's'\nname = 't'\n", "s.toml: not valid TOML: Cannot overwrite a value"),
    "not_text": (b"name = 's'\n\xff\xfe", "s.toml: not a text file; expected a spec in TOML, UTF-8."),
    "binary": (bytes(range(256)), "s.toml: not a text file"),
    "empty": ("", "s.toml: name: missing; expected it here"),
    "no_block": (FIXED, "s.toml: block: missing"),
    "empty_block_list": ("name = 's'\nblock = []\n", "s.toml: block = []; expected one table or more"),
    "block_is_a_table": (FIXED + "[block]\ngrid = { lr = [0.1] }\n", "s.toml: block = {", "expected one table or more. Write [[block]]."),
    "name_is_a_path": ("name = '../s'\n" + GRID, "s.toml: name = '../s'; expected letters, digits, '_', '-' and '.', a letter"),
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
    "three_classes": (DIGITS + "classes = '0,1,2'\n" + GRID, "fixed.classes = '0,1,2'; expected two digits", "Write '0,1'."),
    "measure_never": (
        FIXED + GRID + "[measure]\nevery = 'log:0'\n",
        "s.toml: measure.every = 'log:0'; expected 'end', 'log:N' or 'tail:N' with N from 1 to 999. Write 'log:20' for 20",
    ),
    "measure_a_number": (FIXED + GRID + "[measure]\nevery = 20\n", "s.toml: measure.every = 20; expected 'end', 'log:N' or 'tail:N'"),
    "measure_key": (FIXED + GRID + "[measure]\nsave_weight = true\n", "measure.save_weight: unknown key", "`save_weights`"),
    "refine_without_neighbours": (
        FIXED + GRID + "[refine]\nparameter = 'lr'\ncolumn = 'status'\n",
        "s.toml: refine.parameter = 'lr': no two runs differ in it alone; expected some to start from. Give it an axis",
    ),
    "refine_from_zero": (
        FIXED + "[[block]]\ngrid = { lr = [1], noise = [0, 1] }\n[refine]\nparameter = 'noise'\ncolumn = 'status'\n",
        "s.toml: refine.parameter = 'noise': a run has noise = 0.0; expected finite values above 0",
    ),
    "refine_key": (FIXED + GRID + "[refine]\ncolum = 'loss'\n", "s.toml: refine.colum: unknown key; did you mean `column`?"),
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
