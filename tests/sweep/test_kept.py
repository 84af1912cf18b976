"""Kept: a store goes on without the files that it was trained on, and says what has become of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from relusweep.sweep import kept
from relusweep.sweep.images import idx_content
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store
from tests.conftest import idx_files

OWN: dict[str, Any] = {
    "problem": "'file'",
    "file": "'points.csv'",
    "max_steps": 20,
    "n": 4,
    "d": 2,
    "n_test": 0,
    "grid": "lr = [0.1], seed = [0, 1]",
}
POINTS = "u,v,y\n0.1,1,0.5\n0.2,1,0.7\n0.3,0,-0.2\n0.9,1,0.1\n"


@pytest.fixture(autouse=True)
def _other_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, forget: Callable[[], None]) -> None:
    monkeypatch.chdir(tmp_path)
    forget()


@pytest.fixture
def forgetting(cli: Callable[..., Any], forget: Callable[[], None]) -> Callable[..., Any]:
    """Run a command as a process does that has read nothing yet."""

    def call(*arguments: object) -> Any:
        forget()
        return cli(*arguments)

    return call


@pytest.fixture
def spec(tmp_path: Path, tiny: Callable[..., Path]) -> Path:
    (tmp_path / "points.csv").write_text(POINTS)
    return tiny(**OWN)


def row_of(store: Path) -> dict[str, Any]:
    return Store(store).read()[0].to_pylist()[0]


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
def test_store_needs_the_file_no_more(
    forgetting: Callable[..., Any], spec: Path, tmp_path: Path, equal_tables: Callable[[Path, Path], None]
) -> None:
    text = spec.read_text()
    spec.write_text(text.replace("[0, 1]", "[0]"))
    assert forgetting("run", spec, "--out", "store", "--workers", 1).code == 0
    (tmp_path / "points.csv").unlink()
    gone = forgetting("run", spec, "--out", "store", "--workers", 1)
    assert (gone.code, gone.out, gone.err.count("\n")) == (2, "", 1)
    assert "points.csv: no such file; expected one with the points, relative to the spec." in gone.err
    Path("store").rename("elsewhere")
    own = Path("elsewhere/spec.toml")
    own.write_text(text)
    more = forgetting("run", own, "--out", "elsewhere", "--workers", 1)
    assert (more.code, more.err) == (0, "")
    row = row_of(Path("elsewhere"))
    commands = {
        "status": "2/2 runs",
        "verify": "elsewhere: planned 2 = recorded 2 + missing 0",
        "replay": row["run_id"],
        "export": "wrote a.npz",
        "report": "wrote elsewhere/report/index.html",
        "compact": "runs: 2 parts → 1",
    }
    for command, says in commands.items():
        more_words = {"replay": [row["run_id"]], "export": [row["run_id"], "a.npz"]}.get(command, [])
        said = forgetting(command, "elsewhere", *more_words)
        assert (said.code, said.err) == (0, ""), command
        assert says in said.out
    with np.load("a.npz") as file:
        assert file["x"].tolist() == [[0.1, 1], [0.2, 1], [0.3, 0], [0.9, 1]]
    (tmp_path / "points.csv").write_text(POINTS)
    assert forgetting("run", spec.rename("again.toml"), "--out", "whole", "--workers", 1).code == 0
    assert row_of(Path("whole"))["file"] == row["file"] == "points.csv"


@pytest.mark.usefixtures("unchecked_shapes")
def test_changed_file_is_another_run_and_the_former_stays(
    forgetting: Callable[..., Any], spec: Path, tmp_path: Path
) -> None:
    assert forgetting("run", spec, "--out", "store", "--workers", 1).code == 0
    former = row_of(Path("store"))
    (tmp_path / "points.csv").write_text(POINTS.replace("0.9", "0.8"))
    assert "to train          2" in forgetting("plan", spec, "--out", "store").out
    assert forgetting("run", spec, "--out", "store", "--workers", 1).code == 0
    rows = Store(Path("store")).read()[0].to_pylist()
    assert len({row["content"] for row in rows}) == 2
    assert len(rows) == 4
    assert "2 recorded runs belong to an earlier spec" in forgetting("verify", "store").out
    replayed = forgetting("replay", "store", former["run_id"])
    assert (replayed.code, replayed.err) == (0, "")
    assert "0.0e+00" in next(line for line in replayed.out.splitlines() if line.startswith("loss"))
    (tmp_path / "points.csv").rename(tmp_path / "moved.csv")
    spec.write_text(spec.read_text().replace("points.csv", "moved.csv"))
    assert "to train          0" in forgetting("plan", spec, "--out", "store").out


@pytest.mark.usefixtures("unchecked_shapes")
def test_damaged_and_missing_data_are_named_by_verify_and_written_anew_by_run(
    forgetting: Callable[..., Any], spec: Path
) -> None:
    assert forgetting("run", spec, "--out", "store", "--workers", 1).code == 0
    (path,) = Path("store/files").glob("*.npz")
    assert kept.broken(Store(Path("store")), Spec.read(Path("store/spec.toml"))) == {}
    path.write_bytes(path.read_bytes()[:-20])
    said = forgetting("verify", "store")
    assert said.code == 1
    assert f"broken: {path}: differs from what was written (" in said.out
    alone = forgetting("run", "store/spec.toml", "--out", "store")
    assert (alone.code, alone.err.count("\n")) == (2, 1)
    assert "Run the spec with the original file again, and it is written anew." in alone.err
    replayed = forgetting("replay", "store", row_of(Path("store"))["run_id"])
    assert (replayed.code, replayed.err.count("\n")) == (2, 1)
    assert forgetting("run", spec, "--out", "store").code == 0
    assert forgetting("verify", "store").code == 0
    path.unlink()
    assert f"broken: {path}: not there. Run the spec with the original file again." in forgetting("verify", "store").out
    assert forgetting("run", spec, "--out", "store").code == 0
    assert forgetting("verify", "store").code == 0


# Code ----------------------------------------------------------------------------------------------------------------

CODE = """
from pathlib import Path
Path("ran").touch()
def ridge(x, angle=0): return x[:, 0] * angle
def square(rng, n, d): return rng.uniform(-1, 1, (n, d))
"""
TARGET: dict[str, Any] = OWN | {
    "problem": "'python'",
    "file": None,
    "target": "'my.py:ridge'",
    "inputs": "'my.py:square'",
    "grid": "lr = [0.1], 'target.angle' = [1, 2]",
}
del TARGET["file"]


@pytest.fixture
def coded(tmp_path: Path, tiny: Callable[..., Path], forgetting: Callable[..., Any]) -> Path:
    """A store of runs on functions of a file, which is gone; it was moved, and a marker shows whether its code runs."""
    (tmp_path / "my.py").write_text(CODE)
    spec = tiny(**TARGET)
    assert forgetting("run", spec, "--out", "store", "--workers", 1).code == 0
    (tmp_path / "my.py").unlink()
    (tmp_path / "ran").unlink()
    return Path("store").rename("elsewhere")


@pytest.mark.usefixtures("unchecked_shapes")
def test_store_needs_the_file_with_the_functions_no_more(
    forgetting: Callable[..., Any], coded: Path, tmp_path: Path
) -> None:
    gone = forgetting("run", "tiny.toml", "--out", coded)
    assert (gone.code, gone.out, gone.err.count("\n")) == (2, "", 1)
    assert "my.py: no such file; expected Python, relative to the spec." in gone.err
    own = coded / "spec.toml"
    own.write_text(own.read_text().replace("[1, 2]", "[1, 2, 3]"))
    more = forgetting("run", own, "--out", coded, "--workers", 1)
    assert (more.code, more.err) == (0, "")
    rows = Store(coded).read()[0].to_pylist()
    assert {row["target_arguments"] for row in rows} == {f'{{"angle":{angle}}}' for angle in (1, 2, 3)}
    assert {(row["target"], row["inputs"]) for row in rows} == {("my.py:ridge", "my.py:square")}
    replayed = forgetting("replay", coded, rows[0]["run_id"])
    assert (replayed.code, replayed.err) == (0, "")
    assert "0.0e+00" in next(line for line in replayed.out.splitlines() if line.startswith("loss"))
    assert forgetting("export", coded, rows[0]["run_id"], "a.npz").code == 0
    with np.load("a.npz") as file:
        np.testing.assert_array_equal(file["y"], file["x"][:, 0] * json.loads(rows[0]["target_arguments"])["angle"])
    (tmp_path / "my.py").write_text(CODE + "# another file\n")
    assert "to train          2" in forgetting("plan", "tiny.toml", "--out", coded).out
    (tmp_path / "my.py").write_text(CODE)
    (tmp_path / "my.py").rename("yours.py")
    Path("tiny.toml").write_text(own.read_text().replace("my.py", "yours.py"))
    assert "to train          0" in forgetting("plan", "tiny.toml", "--out", coded).out


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
def test_code_of_a_store_of_someone_else_runs_by_no_command_before_it_is_read_and_taken(
    forgetting: Callable[..., Any], coded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # another account
    run_id, own = row_of(coded)["run_id"], coded / "spec.toml"
    for command in ("status", "verify", "report", "compact"):
        said = forgetting(command, coded)
        assert (said.code, said.err) == (0, ""), command
    own.write_text(own.read_text().replace("[1, 2]", "[1, 2, 3]"))
    asking = (
        ("replay", coded, run_id),
        ("export", coded, run_id, "a.npz"),
        ("plan", own, "--out", coded),
        ("run", own, "--out", coded, "--workers", 1),
    )
    for arguments in asking:
        said = forgetting(*arguments)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), arguments
        assert said.err.startswith("TrustError: elsewhere/")
        assert ".py" in said.err
        assert said.err.endswith("Then add --trust.\n")
    (coded / "my.py").write_text(CODE + "# beside the spec of a store\n")
    names = (coded / "files" / "names.json").rename("names.json")
    for arguments in (*asking, ("report", coded), ("status", coded)):
        forgetting(*arguments)
    assert not Path("ran").exists()
    (coded / "my.py").unlink()
    names.rename(coded / "files" / "names.json")
    assert forgetting("replay", coded, run_id, "--trust").code == 0
    assert Path("ran").exists()
    assert forgetting("export", coded, run_id, "a.npz").code == 0  # it was taken once and for all
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert forgetting("plan", own, "--out", coded, "--trust").code == 0
    assert forgetting("run", own, "--out", coded, "--workers", 1).code == 0


MEASURE = """
from pathlib import Path
Path("ran").touch()
def largest(networks): return networks.residuals.abs().amax(1)
"""


@pytest.mark.usefixtures("unchecked_shapes")
def test_replay_takes_the_python_of_measures_too_and_compares_what_it_returns(
    forgetting: Callable[..., Any], tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MEASURE)
    spec = tiny(measure="extra = ['mine.py:largest', 'spectrum']", max_steps=20)
    assert forgetting("run", spec, "--out", "store", "--workers", 1).code == 0
    (tmp_path / "mine.py").unlink()
    Path("ran").unlink()
    run_id = row_of(Path("store"))["run_id"]
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # another account
    said = forgetting("replay", "store", run_id)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("TrustError: store/files/")
    assert "(mine.py:largest)" in said.err
    assert not Path("ran").exists()
    said = forgetting("replay", "store", run_id, "--trust")
    assert said.code == 0
    assert Path("ran").exists()
    lines = {line.split()[0]: line for line in said.out.splitlines() if line}
    assert lines["largest"].endswith("0.0e+00")
    assert lines["spectrum"].split()[1:] == ["17", "numbers", "17", "numbers", "0.0e+00"]
    (code,) = Path("store", "files").glob("*.py")
    code.unlink()
    assert f"broken: {code}: not there" in forgetting("verify", "store").out


@pytest.mark.usefixtures("unchecked_shapes")
def test_damaged_and_missing_code_is_named_by_verify_and_written_anew_by_run(
    forgetting: Callable[..., Any], coded: Path, tmp_path: Path
) -> None:
    (path,) = (coded / "files").glob("*.py")
    path.write_bytes(path.read_bytes() + b"#")
    said = forgetting("verify", coded)
    assert said.code == 1
    assert f"broken: {path}: differs from what was written (it holds something else)" in said.out
    assert "differs from what was written" in forgetting("replay", coded, row_of(coded)["run_id"]).err
    path.unlink()
    assert f"broken: {path}: not there. Run the spec with the original file again." in forgetting("verify", coded).out
    (tmp_path / "my.py").write_text(CODE)
    assert forgetting("run", "tiny.toml", "--out", coded).code == 0
    assert forgetting("verify", coded).code == 0


@pytest.mark.usefixtures("unchecked_shapes")
def test_code_is_run_from_no_folder_that_others_can_write(forgetting: Callable[..., Any], coded: Path) -> None:
    coded.chmod(0o777)
    said = forgetting("replay", coded, row_of(coded)["run_id"], "--trust")
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "not read, because another user could have put other code there" in said.err
    assert not Path("ran").exists()


# Images --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("earlier", [False, True])  # it knew nothing of contents
def test_store_of_images_takes_no_others_under_the_same_names(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    monkeypatch.setenv("RELUSWEEP_DATA", "none")
    mine, others = idx_files(tmp_path / "mine", 0), idx_files(tmp_path / "others", 1)
    few: dict[str, Any] = {"problem": "'mnist'", "d": 784, "n": 8, "n_test": 4, "max_steps": 3}
    spec = tiny(**few, grid="lr = [0.01], seed = [0]")
    if earlier:
        Store.create(Path("store"))
        shutil.copy(spec, "store/spec.toml")
        spec = Path("store/spec.toml")
    assert cli("run", spec, "--out", "store", "--workers", 1, "--data", mine).code == 0
    row = row_of(Path("store"))
    assert row["content"] == (None if earlier else idx_content(mine, "train"))
    more = tmp_path / "more.toml"
    more.write_text(spec.read_text().replace("[0]", "[0, 1]"))
    line = "others: the train files hold other images than those that the store was trained on"
    for arguments in (
        ("run", spec, "--out", "store"),
        ("run", more, "--out", "store"),
        ("plan", more, "--out", "store"),
        ("run", Path("store/spec.toml"), "--out", "store"),
        ("replay", "store", row["run_id"]),
        ("export", "store", row["run_id"], "a.npz"),
    ):
        said = cli(*arguments, "--data", others)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), arguments
        assert line in said.err
    of_store = Path("store/spec.toml")
    assert (
        cli("run", of_store, "--out", "store", "--data", tmp_path / "none").code == 0
    )  # all recorded: none are needed
    of_store.write_text(more.read_text())
    assert cli("run", of_store, "--out", "store", "--workers", 1, "--data", mine).code == 0
    assert pl.read_parquet("store/runs/*.parquet")["content"].unique().to_list() == [row["content"]]
    assert cli("verify", "store").code == 0
    assert cli("report", "store").code == 0
    assert cli("run", spec, "--out", "new", "--workers", 1, "--data", others).code == 0
