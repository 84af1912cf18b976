"""Own module: a user's Python becomes a module as others are, and whatever it raises is one line with its place."""

import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relusweep.sweep import own_code, own_module, trust
from relusweep.sweep.dataset import DataError
from relusweep.sweep.own_module import called, functions
from relusweep.sweep.trust import TrustError

CODE = '''"""My targets."""
from __future__ import annotations
from dataclasses import dataclass, field
import functools, pickle
import numpy as np

@dataclass
class Bump:
    width: float
    centre: list[float] = field(default_factory=list)

    def __call__(self, x: np.ndarray, /) -> np.ndarray:
        return np.exp(-(x**2).sum(1) / self.width)

@functools.cache
def made(width):
    return pickle.loads(pickle.dumps(Bump(width)))

def bump(x, width=1.0):
    return made(width)(x)

if __name__ == "__main__":
    raise RuntimeError("it is no program")
'''


@pytest.fixture
def load(tmp_path: Path, forget: Callable[[], None]) -> Callable[..., Any]:
    """Give a function of a file with this text, and permit it to run."""
    forget()

    def call(text: str | bytes, function: str = "f", permitted: bool = True) -> Any:
        (tmp_path / "my.py").write_bytes(text if isinstance(text, bytes) else text.encode())
        source = own_code.source_of(f"my.py:{function}", tmp_path)
        if permitted:
            trust.permit([own_code.content_in(source)])
        return functions(source, f"my.py:{function}")

    return call


def test_dataclasses_annotations_caches_and_pickles_work_as_in_any_module(load: Callable[..., Any]) -> None:
    one, other = load(CODE, "bump")
    x = np.ones((3, 2))
    np.testing.assert_array_equal(called(one, "my.py:bump", x, width=2.0), np.full(3, np.exp(-1)))
    assert one.__globals__ is not other.__globals__
    assert one.__module__ != other.__module__
    assert {one.__module__, other.__module__} <= set(sys.modules)
    assert "width=1.0" in inspect.getsource(one)
    assert sys.modules[one.__module__].__doc__ == "My targets."


def test_code_that_was_not_permitted_does_not_run(load: Callable[..., Any], tmp_path: Path) -> None:
    text = f"from pathlib import Path; Path({str(tmp_path / 'ran')!r}).touch()\ndef f(x): return x[:, 0]\n"
    with pytest.raises(TrustError, match="my.py:f: Python that a store brought along"):
        load(text, permitted=False)
    assert not (tmp_path / "ran").exists()
    load(text)
    assert (tmp_path / "ran").exists()


def test_tracebacks_show_the_lines_of_the_file(load: Callable[..., Any]) -> None:
    function, _ = load("def f(x):\n    return 1 / 0  # here\n")
    try:
        function(0)
    except ZeroDivisionError:
        assert "return 1 / 0  # here" in traceback.format_exc()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(x:\n  pass", r"^my.py, line 1: SyntaxError: .*; expected the file to run"),
        ("\n\nimport no_such_module", "^my.py, line 3: ModuleNotFoundError: No module named 'no_such_module'; .* It is to be one file, which imports what is installed"),
        ("from . import beside", "^my.py, line 1: ImportError: .* It is to be one file"),
        ("x = 1\nraise SystemExit(3)", "^my.py, line 2: SystemExit: 3; expected the file to run without an exception"),
        ("def g(x): return x\nff = 3", r"^my.py:f: no function 'f'; expected one of the file's. It has g"),
        ("def ff(x): return x", "no function 'f'; expected one of the file's. Did you mean 'ff'"),
        ("f = 3", "no function 'f'; .* It has none"),
        (b"\xff\xfe", "^my.py, line 1: SyntaxError|^my.py: SyntaxError|^my.py: UnicodeDecodeError"),
        (b"# coding: nonsense\n", "^my.py.*: SyntaxError: "),
        (b"x = 1\0", "^my.py.*: (SyntaxError|ValueError): "),
        ("(" * 10_000, "^my.py.*: SyntaxError: too many nested parentheses"),
        ("-" * 200_000 + "1", "^my.py.*Error"),
    ],
)  # fmt: skip
def test_file_that_cannot_be_loaded_is_one_line_with_its_place(
    load: Callable[..., Any], text: str | bytes, message: str
) -> None:
    before = {*sys.modules}
    with pytest.raises(DataError, match=message) as caught:
        load(text)
    assert str(caught.value).isprintable()
    if "no function" not in message:
        assert not [name for name in {*sys.modules} - before if name.startswith("relusweep_own_")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return x / 0 if g(x) else 0\ndef g(x):\n  raise ValueError('no\\nmore\\x1b[2J')", "^my.py, line 4: ValueError: no; expected f to run without an exception.$"),
        ("import sys; sys.exit('bye')", "^my.py, line 2: SystemExit: bye; expected f to run"),
        ("raise GeneratorExit", "^my.py, line 2: GeneratorExit; expected f to run"),
        ("return f(x)", "^my.py, line 2: RecursionError: maximum recursion depth exceeded"),
        ("import json; json.loads('')", "^my.py, line 2: JSONDecodeError: Expecting value"),
        ("class E(Exception):\n    def __str__(self): raise E\n  raise E", "^my.py, line 4: E; expected f to run"),
        ("raise BaseExceptionGroup('many', [KeyError(1)])", "^my.py, line 2: ExceptionGroup: many"),
        ("raise Exception('é' * 999)", "^my.py, line 2: Exception: é{100,189}; expected"),
    ],
)  # fmt: skip
def test_whatever_a_function_raises_is_one_line_with_file_line_and_message(
    load: Callable[..., Any], body: str, message: str
) -> None:
    function, _ = load(f"def f(x):\n  {body}\n")
    with pytest.raises(DataError, match=message) as caught:
        called(function, "my.py:f", 1.0)
    assert str(caught.value).isprintable()


def test_stop_signal_stops_the_command_and_not_the_function_alone(load: Callable[..., Any]) -> None:
    function, _ = load("def f(x): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        called(function, "my.py:f", 1.0)


def test_other_arguments_than_a_function_takes_are_refused(load: Callable[..., Any]) -> None:
    function, _ = load("def f(x, angle: float, *, scale=2): return x")
    for arguments, message in (
        ({}, r"my.py:f: missing a required argument: 'angle'; expected what \(x, angle, \*, scale=2\) takes"),
        ({"angle": 1, "angel": 2}, "got an unexpected keyword argument 'angel'"),
        ({"angle": 1, "x": 2}, "multiple values for argument 'x'"),
    ):
        with pytest.raises(DataError, match=message):
            called(function, "my.py:f", 1.0, **arguments)
    assert called(function, "my.py:f", 1.0, angle=3) == 1.0


def test_what_a_function_prints_does_not_mix_with_our_output(
    load: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    function, _ = load("print('loaded')\ndef f(x): print('called')")
    called(function, "my.py:f", 1.0)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "loaded\nloaded\ncalled\n")


@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4), st.integers(0, 9)), max_size=6))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_spoiled_code_is_a_function_or_one_line(
    load: Callable[..., Any], changes: list[tuple[int, bytes, int]]
) -> None:
    code = bytearray(CODE.encode())
    for place, put, gone in changes:
        start = place % (len(code) + 1)
        code[start : start + gone] = put
    try:
        said = f"my.py: {len(load(bytes(code), 'bump'))} functions"
    except DataError as error:
        said = str(error)
    own_module._modules.cache_clear()
    assert said.startswith("my.py")
    assert said.isprintable()


@pytest.mark.parametrize("name", ["name", "function", "self", "given", "named"])
def test_an_argument_may_have_any_name(name: str) -> None:
    assert own_module.called(lambda x, **given: (x, given), "my.py:f", 3, **{name: "b"}) == (3, {name: "b"})
