"""Commands and paths that make no sense; and odd paths that do."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.sweep.record import SCHEMA_VERSION


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["rum"], "No such command 'rum'"),
        (["run"], "Missing argument 'SPEC'"),
        (["run", "tiny.toml", "--wrkers", "2"], "No such option: --wrkers"),
        (["run", "tiny.toml", "more"], "Got unexpected extra argument"),
        (["run", "tiny.toml", "--out"], "Option '--out' requires an argument"),
        (["run", "tiny.toml", "--on", "moon"], "--on moon: unknown back-end; expected one of local"),
        (["run", "tiny.toml", "--on", "moon", "--detach"], "--on moon: unknown back-end; expected one of local"),
        (
            ["run", "tiny.toml", "--on", "local", "--report"],
            "--report: --on local submits no jobs; expected --on slurm",
        ),
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
            f"other-version: schema 999, this version reads up to {SCHEMA_VERSION}. Use the relusweep that wrote it",
        ),
        (
            ["run", "tiny.toml", "--out", "other-version"],
            f"other-version: schema 999, this version reads up to {SCHEMA_VERSION}",
        ),
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


@pytest.mark.parametrize("option", ["--detach", "--report"])
def test_back_end_that_submits_no_jobs_is_refused_before_it_is_built(
    refused: Callable[..., str], tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    for name in ("ray", "ray.tune"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    line = refused("run", tiny(), "--on", "ray", option)
    assert line == f"MisuseError: {option}: --on ray submits no jobs; expected --on slurm.\n"


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


def test_store_without_its_spec_is_named(refused: Callable[..., str], store: Path) -> None:
    (store / "spec.toml").unlink()
    assert "spec.toml: no spec (No such file or directory)" in refused("status", store)
    assert "spec.toml: no spec (No such file or directory)" in refused("verify", store)


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
