"""Compiled code on disk: each process finds its own, whoever else writes at the same time, is killed, or has no room."""

import shutil
import threading

import pytest
from numba.core.caching import IndexDataCacheFile

from relusweep.sweep.kernels.jit.compiled import _Files, announced_once, announcing
from relusweep.sweep.kernels.jit.program import program

SOURCE = """
from relusweep.sweep.kernels.jit.compiled import compiled


@compiled
def increased(x):
    return x + 1


@compiled
def double(x):
    return increased(2 * x) - 1
"""


class Abreast(_Files):
    """Both look at the index before either writes; what this one has compiled comes last."""

    def __init__(self, folder, looked, other_is_done):
        super().__init__(str(folder), "f", "sources")
        self.looked, self.other_is_done = looked, other_is_done

    def _load_index(self):
        known = super()._load_index()
        self.looked.wait(10)
        return known

    def _save_data(self, name, data):
        self.other_is_done.wait(10)
        super()._save_data(name, data)


def test_processes_that_compile_for_different_types_at_once_never_load_each_others_code(tmp_path):
    looked, done, free = threading.Barrier(2), threading.Event(), threading.Event()
    free.set()
    slow, fast = Abreast(tmp_path, looked, done), Abreast(tmp_path, looked, free)
    thread = threading.Thread(target=slow.save, args=("float32", "code for float32"))
    thread.start()
    fast.save("float64", "code for float64")
    done.set()
    thread.join()
    found = [_Files(str(tmp_path), "f", "sources").load(key) for key in ("float32", "float64")]
    assert found[0] in (None, "code for float32")
    assert found[1] in (None, "code for float64")
    assert any(found)


class Killed(_Files):
    """A process that is killed between its two files."""

    written = 0

    def _open_for_write(self, filepath):
        self.written += 1
        if self.written == 2:
            raise KeyboardInterrupt
        return super()._open_for_write(filepath)


def test_kill_between_two_files_leaves_no_code_of_older_sources_under_the_new_index(tmp_path):
    _Files(str(tmp_path), "f", "older").save("key", "older code")
    with pytest.raises(KeyboardInterrupt):
        Killed(str(tmp_path), "f", "newer").save("key", "newer code")
    assert _Files(str(tmp_path), "f", "newer").load("key") is None
    assert IndexDataCacheFile(str(tmp_path), "f", "newer").load("key") is None


def test_code_of_older_sources_is_deleted(tmp_path):
    for stamp in ("older", "newer"):
        for key in ("one", "other"):
            _Files(str(tmp_path), "f", stamp).save(key, key)
    assert len([*tmp_path.iterdir()]) == 3  # the index and two contents
    assert _Files(str(tmp_path), "f", "newer").load("other") == "other"


def test_code_that_cannot_be_kept_is_used_all_the_same(cache, forget):
    module = program(SOURCE)
    shutil.rmtree(cache / "__pycache__")
    (cache / "__pycache__").write_text("in the way", encoding="utf-8")
    assert module.double(21) == 42
    forget()
    assert program(SOURCE).double(4) == 8


def test_source_that_another_process_writes_again_is_not_compiled_again(cache, forget):
    begun = []
    with announcing(lambda: begun.append(1)):
        program(SOURCE).double(1)
        (file,) = cache.glob("*.py")
        file.write_text(SOURCE, encoding="utf-8")
        forget()
        program(SOURCE).double(1)
    assert len(begun) == 1


def test_compilations_are_announced_but_for_their_parts(cache):
    begun = []
    with announcing(lambda: begun.append(1)):
        module = program(SOURCE)
        assert begun == []
        assert (module.double(1), module.double(2)) == (2, 4)
        assert len(begun) == 1
        assert module.double(1.5) == 3
    assert len(begun) == 2
    module.double(1 + 2j)
    assert len(begun) == 2


def test_user_at_a_terminal_is_informed_once(cache, monkeypatch):
    messages, module = [], program(SOURCE)
    for is_terminal, numbers in ((False, (1,)), (True, (1.5, 1 + 2j))):
        monkeypatch.setattr("sys.stderr.isatty", lambda is_terminal=is_terminal: is_terminal)
        with announced_once(messages.append):
            for number in numbers:
                assert module.double(number) == 2 * number
        assert len(messages) == is_terminal
