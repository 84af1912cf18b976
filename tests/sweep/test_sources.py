"""Sources: the data files that a spec names, beside it or in the store that keeps them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from relusweep.sweep import contents, data_file
from relusweep.sweep.contents import POINTS
from relusweep.sweep.dataset import DataError
from relusweep.sweep.sources import Sources
from relusweep.sweep.spec import Spec
from relusweep.sweep.spec_error import SpecError

HEAD = 'name = "x"\nfixed = { problem = "file", lr = 0.1 }\n[[block]]\n'


@pytest.fixture
def spec(tmp_path: Path) -> Callable[[str], Spec]:
    """Read a spec beside three files, of which two hold the same points."""
    (tmp_path / "a.csv").write_text("u,v,y,z\n1,2,3,4\n5,6,7,8\n")
    np.savez(tmp_path / "b.npz", x=[[1, 2], [5, 6]], y=[3, 7])
    np.savez(tmp_path / "c.npz", x=[[1, 2], [5, 6], [0, 0]], y=[3, 7, 1])
    (tmp_path / "index.csv").write_text(",u,y\n0,1,2\n1,3,4\n")
    (tmp_path / "x.toml").write_text("")

    def read(block: str) -> Spec:
        (tmp_path / "x.toml").write_text(HEAD + block)
        return Spec.read(tmp_path / "x.toml")

    return read


def test_files_are_relative_to_the_spec_and_dimension_and_number_follow_from_them(spec: Callable[[str], Spec]) -> None:
    runs = list(spec('grid = { file = ["a.csv", "c.npz"], seed = [0, 1] }').expand())
    assert [(run.file, run.d, run.n, run.n_test) for run in runs] == [("a.csv", 3, 2, 0)] * 2 + [("c.npz", 2, 3, 0)] * 2
    assert len({run.id for run in runs}) == 4
    assert len({run.content for run in runs}) == 2


def test_two_names_of_the_same_points_are_one_run(spec: Callable[[str], Spec]) -> None:
    found = spec('grid = { file = ["b.npz", "a.csv"], x_columns = ["u,v"], lr = [1, 2] }'.replace("b.npz", "./a.csv"))
    assert [run.file for run in found.expand()] == ["./a.csv"] * 2
    zipped = spec(
        'zip = { file = ["a.csv", "a.csv", "a.csv"], y_column = ["y", "z", "y"], x_columns = ["u", "u", "v"] }'
    )
    assert len({run.id for run in zipped.expand()}) == 3


def test_lists_of_columns_are_values_of_an_axis(spec: Callable[[str], Spec]) -> None:
    runs = list(spec('grid = { x_columns = [["u"], ["u", "v"]] }\nfixed = { file = "a.csv" }').expand())
    assert [(run.x_columns, run.d) for run in runs] == [("u", 1), ("u,v", 2)]


def test_file_is_read_once_however_many_runs_are_on_it(
    spec: Callable[[str], Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, seen = data_file.read, []
    monkeypatch.setattr(data_file, "read", lambda path, *columns: seen.append(path.name) or read(path, *columns))
    found = spec('grid = { file = ["b.npz", "c.npz"], width = [2, 3], n = [1, 2], seed = { range = [0, 50] } }')
    assert len(list(found.expand())) == 400
    assert seen == ["b.npz", "c.npz"]


def test_other_contents_have_another_digest_and_a_spec_without_files_none(
    spec: Callable[[str], Spec], tmp_path: Path
) -> None:
    text = 'fixed = { file = "a.csv" }'
    before = spec(text).sources.digest
    assert spec(text).sources.digest == before
    (tmp_path / "a.csv").write_text("u,y\n1,2\n")
    assert spec(text).sources.digest != before
    assert Spec.parse("name = 'x'\n[[block]]\nfixed = { problem = 'sine', lr = 0.1 }", "x").sources.digest == b""


def test_spec_of_a_store_means_what_the_store_keeps_though_a_file_lies_there(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "a.csv").write_text("u,y\n1,2\n")
    kept = POINTS.remember(data_file.read(tmp_path / "a.csv"))
    contents.keep_names(tmp_path, [{"file": "a.csv", "x_columns": None, "y_column": None, "content": kept}])
    (tmp_path / "a.csv").write_text("u,y\n3,4\n")
    sources = Sources(tmp_path)
    rest = (None, None, None)
    assert sources.look_up([("file", None, None, "a.csv", None, None, *rest)]).contents == {("a.csv", None, None): kept}
    assert sources.look_up([("file", None, None, "a.csv", "u", None, *rest)]).contents != {("a.csv", "u", None): kept}


@pytest.mark.parametrize(
    ("block", "refusal", "message"),
    [
        ('fixed = { file = "gone.csv" }', DataError, r"gone.csv: no such file; .* relusweep run STORE/spec.toml"),
        ('grid = { file = ["a.csv", 3] }', SpecError, r"block\[0\].grid.file\[1\] = 3; expected a valid string"),
        ("fixed = { n = 3 }", SpecError, r"block\[0\]: file is missing; expected the name of your data"),
        ('fixed = { file = "index.csv" }', DataError, "a column without a name, as pandas writes its index; expected names"),
        ('fixed = { problem = "a.csv" }', SpecError, "'a.csv' is unknown; .* Your own data: problem = 'file', file = 'a.csv'"),
        ('fixed = { problem = "my.py:f" }', SpecError, "Your own function: problem = 'python', target = 'my.py:f'"),
        ('fixed = { target.angle = 3 }', SpecError, r"fixed.target = .*An argument stands in \[target\], or in quotes"),
        ('fixed = { file = "a.csv", y_column = "w" }', DataError, "no column 'w'; .* Name it by y_column"),
        ('fixed = { file = "a.csv", x_columns = ["a,b"] }', SpecError, "fixed.x_columns = 'a,b'; expected no comma"),
        ('fixed = { problem = "sine", file = "a.csv" }', SpecError, "problem sine ignores it. Leave it out"),
        (f'fixed = {{ file = "a.csv", content = "{"0" * 32}" }}', SpecError, "a.csv holds '[0-9a-f]{32}'. Leave content out"),
        ('fixed = { file = "a.csv", batch_size = 3, optimizer = "sgd" }', SpecError, "expected at most n = 2"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_when_the_spec_is_read_or_expanded(
    spec: Callable[[str], Spec], block: str, refusal: type[Exception], message: str
) -> None:
    with pytest.raises(refusal, match=message):
        list(spec(block).expand())


# Code ----------------------------------------------------------------------------------------------------------------

PYTHON = """name = "x"
fixed = { problem = "python", lr = 0.1, target = "my.py:f" }
[target]
scale = 2.0
[[block]]
"""


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Spec]:
    """Read a spec beside a file with two functions, and another file with the same bytes."""
    for name in ("my.py", "same.py"):
        (tmp_path / name).write_text("raise RuntimeError('it ran')\n")

    def read(block: str, head: str = PYTHON) -> Spec:
        (tmp_path / "x.toml").write_text(head + block)
        return Spec.read(tmp_path / "x.toml")

    return read


def test_arguments_of_the_table_and_of_axes_are_parameters_of_the_run(python: Callable[..., Spec]) -> None:
    block = 'grid = { "target.angle" = { linear = [0, 60, 3] }, seed = [0, 1] }\nfixed = { "target.scale" = 3.0 }\n'
    runs = list(python(block + 'zip = { "target.a" = ["u", "v"], "target.b" = [true, false] }').expand())
    assert len({run.id for run in runs}) == len(runs) == 12
    assert runs[0].target_arguments == '{"a":"u","angle":0.0,"b":true,"scale":3.0}'
    drawn = python('random = { count = 3, "target.angle" = { uniform = [0, 1] } }').expand()
    assert len({run.target_arguments for run in drawn}) == 3
    assert {run.target_arguments for run in python("").expand()} == {'{"scale":2.0}'}


def test_files_of_code_are_read_and_not_run_and_two_names_of_the_same_bytes_are_one_run(
    python: Callable[..., Spec],
) -> None:
    spec = python('grid = { target = ["my.py:f", "same.py:f", "my.py:g"], inputs = ["same.py:h"] }')
    runs = list(spec.expand())
    assert [(run.target, run.inputs, run.domain) for run in runs] == [
        ("my.py:f", "same.py:h", None),
        ("my.py:g", "same.py:h", None),
    ]
    assert {run.target_source for run in runs} == {f"{next(iter(spec.sources.chosen))}:{name}" for name in "fg"}


def test_other_bytes_have_another_digest(python: Callable[..., Spec], tmp_path: Path) -> None:
    before = python("").sources.digest
    assert before == python("").sources.digest != b""
    read = python("")
    (tmp_path / "my.py").write_text("pass")
    assert python("").sources.digest != read.sources.digest


def test_code_beside_the_spec_of_a_store_was_not_chosen_by_who_opens_it(
    python: Callable[..., Spec], tmp_path: Path
) -> None:
    assert python("").sources.chosen
    (tmp_path / "store.json").write_text("{}")
    assert not python("").sources.chosen


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ('fixed = { target = "gone.py:f" }', r"gone.py: no such file; expected Python"),
        ('fixed = { target = "my.py" }', "'my.py': names no function; expected 'FILE.py:FUNCTION'"),
        ('fixed = { target = "ridgeline" }', "'ridgeline': neither 'FILE.py:FUNCTION' nor what an installed package offers"),
        ('fixed = { target = 3 }', r"fixed.target = 3; expected a valid string"),
        ('fixed = { target = { angle = 3 } }', r"fixed.target = {'angle': 3}; expected"),
        ('grid = { target.angle = [1] }', r"expected a list, .* An argument stands in quotes: \"target.angle\""),
        ('grid = { "target.angle" = [[1]] }', r"grid.target.angle\[0\] = \[1\]; expected a number, a text, true or false"),
        ('grid = { "target.a" = [1, 2, 1.0] }', r"grid.target.a: 1 and 1.0 on one axis; expected one of them. Remove one"),
        ('zip = { "target.a" = [false, 0], lr = [1, 2] }', "zip.target.a: False and 0 on one axis"),
        ('grid = { "target.a b" = [1] }', r"grid.target.a b\[0\] = 1; expected an argument's name"),
        ('fixed = { "target.a" = inf }', r"fixed.target.a = inf; expected a finite number"),
        ('fixed = { target_arguments = "{\\"a\\":1}" }', r"target_arguments is given beside target.scale"),
        (f'fixed = {{ target_source = "{"0" * 32}:f" }}', "my.py:f holds '[0-9a-f]{32}:f'. Leave target_source out"),
        ('fixed = { inputs = "my.py:g", radius = 2.0 }', "radius = 2.0; inputs draws the points. Leave radius out"),
        ('fixed = { problem = "sine" }', "target = 'my.py:f'; problem sine ignores it. Leave it out"),
        ('fixed = { problem = "pythn" }', "problem = 'pythn' is unknown; .* Did you mean 'python'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_names_and_arguments_is_refused(
    python: Callable[..., Spec], block: str, message: str
) -> None:
    with pytest.raises((SpecError, DataError), match=message):
        list(python(block).expand())


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (PYTHON.replace("scale = 2.0", "scale = [1]"), r"target.scale = \[1\]; expected a number, a text, true or false"),
        (PYTHON.replace("my.py:f", 'my.py:f", "target.scale" = "1'), r"target.scale is given in both \[target\] and \[fixed\]"),
        (PYTHON.replace("[target]\nscale", "target"), r"target = 2.0; expected a valid table|a table"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_table_is_refused(python: Callable[..., Spec], head: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        python("", head)
