"""Sources: the data files that a spec names, beside it or in the store that keeps them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from relusweep.sweep import contents, data_file
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
    kept = contents.remember(data_file.read(tmp_path / "a.csv"))
    contents.keep_names(tmp_path, [{"file": "a.csv", "x_columns": None, "y_column": None, "content": kept}])
    (tmp_path / "a.csv").write_text("u,y\n3,4\n")
    sources = Sources(tmp_path)
    code = (None, None)
    assert sources.look_up([("file", "a.csv", None, None, *code)]).contents == {("a.csv", None, None): kept}
    assert sources.look_up([("file", "a.csv", "u", None, *code)]).contents != {("a.csv", "u", None): kept}


@pytest.mark.parametrize(
    ("block", "refusal", "message"),
    [
        ('fixed = { file = "gone.csv" }', DataError, r"gone.csv: no such file; .* relusweep run STORE/spec.toml"),
        ('grid = { file = ["a.csv", 3] }', SpecError, r"block\[0\].grid.file\[1\] = 3; expected a valid string"),
        ("fixed = { n = 3 }", SpecError, r"block\[0\]: file is missing; expected the name of your data"),
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
