"""Programs on disk: written once, for the user alone, made anew where damaged, and not missed where there is no place."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relusweep.sweep.kernels.jit.program import _UNUSED_DAYS, program

SOURCE = "from relusweep.sweep.kernels.jit.compiled import compiled\n\n\n@compiled\ndef double(x):\n    return 2 * x\n"


def test_program_is_written_once_and_by_no_other_user(cache, forget):
    old = os.umask(0o002)
    try:
        assert program(SOURCE).double(21) == 42
    finally:
        os.umask(old)
    (file,) = cache.glob("*.py")
    assert file.read_text(encoding="utf-8") == SOURCE
    assert cache.stat().st_mode & 0o077 == 0
    stamp = file.stat().st_mtime_ns
    forget()
    assert program(SOURCE).double(4) == 8
    assert file.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("kind", ["*.py", "__pycache__/*.nbi", "__pycache__/*.nbc"])
@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_damaged_files_are_made_anew(cache, forget, kind, content):
    assert program(SOURCE).double(1) == 2
    files = list(cache.glob(kind))
    assert files
    for file in files:
        file.write_bytes(content)
    forget()
    assert program(SOURCE).double(3) == 6
    (source,) = cache.glob("*.py")
    assert source.read_text(encoding="utf-8") == SOURCE


def test_other_options_are_other_programs(cache, forget, monkeypatch):
    program(SOURCE)
    forget()
    monkeypatch.setattr("relusweep.sweep.kernels.jit.program.OPTIONS", {"nogil": False})
    program(SOURCE)
    assert len(list(cache.glob("*.py"))) == 2


def test_programs_out_of_use_are_deleted_when_another_is_written(cache, forget):
    for factor in (2, 3):
        program(SOURCE.replace("2", str(factor))).double(1)
    forget()
    long_ago = time.time() - (_UNUSED_DAYS + 1) * 86_400
    old, used = cache.glob("*.py")
    for file in (old, used):
        os.utime(file, (long_ago, long_ago))
    program(used.read_text(encoding="utf-8"))
    third = program(SOURCE.replace("2", "4"))
    assert third.double(1) == 4
    assert {file.name.partition(".")[0] for file in cache.rglob("relusweep_*")} == {used.stem, third.__name__}


def test_program_is_loaded_though_its_folder_has_gone_or_is_full(cache, forget):
    program(SOURCE)
    program.cache_clear()
    shutil.rmtree(cache)
    cache.write_text("in the way", encoding="utf-8")
    module = program(SOURCE)
    assert module.double(2) == 4
    assert cache not in Path(module.__file__).parents


def test_without_a_place_programs_live_as_long_as_the_process(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    code = (
        "import pathlib\n"
        "from relusweep.sweep.kernels.jit.program import directory\n"
        "pathlib.Path.home = lambda: (_ for _ in ()).throw(RuntimeError('no home'))\n"
        "print(directory())\n"
    )
    for place in ("relative", str(tmp_path / "file")):
        environment = os.environ | {"XDG_CACHE_HOME": place}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=Path.cwd()
        )
        assert "relusweep-kernels-" in done.stdout
        assert not Path(done.stdout.strip()).exists()


@pytest.mark.slow
def test_next_process_takes_what_the_last_has_compiled(cache):
    """Whatever order its sets have."""
    program(SOURCE).double(1)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    text = f"from relusweep.sweep.kernels.jit.program import program\nassert program({SOURCE!r}).double(2) == 4"
    for seed in "0", "1", "2", "3":
        subprocess.run([sys.executable, "-c", text], check=True, env=os.environ | {"PYTHONHASHSEED": seed})
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before
