"""Own module: a user's Python made into modules, and its functions called; what goes wrong there is one line.

Code runs twice, as two modules, so that what it draws at random while it is loaded, or remembers between calls, can be
seen by comparing what the two return.
"""

import difflib
import importlib.util
import inspect
import linecache
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from relusweep.sweep import trust
from relusweep.sweep.dataset import DataError
from relusweep.sweep.own_code import CODE

Function = Callable[..., Any]
_MOST_LETTERS = 200  # of what an exception says


def functions(source: str, name: str) -> tuple[Function, Function]:
    """Return a function from two modules that were made of the same code, one after the other.

    Args:
        source: Its content and name.
        name: What errors call it.

    Raises:
        TrustError: if this process may not run it.
        DataError: if it is nowhere, or cannot be loaded, or has no such function.
    """
    content, _, function = source.partition(":")
    trust.refuse(content, name)
    one, other = (_function(module, function, name) for module in _modules(content, _file(name)))
    return one, other


def called(function: Function, name: str, /, *given: Any, **named: Any) -> Any:
    """Call a user's function; what it prints goes to the standard error.

    Raises:
        DataError: with file, line and message, if it raises anything; with the arguments that it takes, if others are
            given.
    """
    with _refusing(name):
        signature = _signature(function)
    if signature:
        try:
            signature.bind(*given, **named)
        except TypeError as error:
            raise DataError(f"{name}: {error}; expected what {_text(signature)} takes.") from None
    with _refusing(name):
        return function(*given, **named)


def _signature(function: Function) -> inspect.Signature | None:
    """Return what a function takes; None of one in another language."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _text(signature: inspect.Signature) -> str:
    """Return the arguments of a function as they are written, without what is noted of their types."""
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(inspect.Signature(plain))[:_MOST_LETTERS]


def one_line(error: BaseException) -> str:
    """Return the kind of an exception and what it says, in one line that a terminal shows as it is."""
    kind = type(error).__name__
    try:
        said = str(error.msg if isinstance(error, SyntaxError) else error)
    except Exception:  # of an exception of the user's own
        said = ""
    line = (said.strip().splitlines() or [""])[0].rstrip(".")
    text = (f"{kind}: {line}" if line else kind)[:_MOST_LETTERS]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class _Loader(InspectLoader):
    """Loads code from memory; tracebacks show its lines."""

    def __init__(self, code: bytes, place: str) -> None:
        self.code, self.place = code, place

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self.code)

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.code, self.place, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        code, text = self.get_code(module.__name__), self.get_source(module.__name__)
        linecache.cache[self.place] = (len(text), None, text.splitlines(keepends=True), self.place)
        exec(code, module.__dict__)


@lru_cache(maxsize=64)
def _modules(content: str, file: str) -> tuple[ModuleType, ModuleType]:
    """Run code twice, each time as a module of its own, under names that no other module has."""
    code = CODE.find(content, file)
    one, other = (_loaded(f"relusweep_own_{content[:16]}_{copy}", code, file) for copy in (1, 2))
    return one, other


def _loaded(name: str, code: bytes, file: str) -> ModuleType:
    loader = _Loader(code, _place(file))
    module = sys.modules[name] = importlib.util.module_from_spec(ModuleSpec(name, loader, origin=_place(file)))
    try:
        with _refusing(file):
            loader.exec_module(module)
    except MemoryError:  # Python's parser has too little of it where brackets stand in brackets
        del sys.modules[name]
        raise DataError(f"{file}: MemoryError; expected the file to run within the memory of this machine.") from None
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _function(module: ModuleType, function: str, name: str) -> Function:
    found = vars(module).get(function)
    if not callable(found):
        known = [each for each, value in vars(module).items() if inspect.isfunction(value)]
        near = difflib.get_close_matches(function, known, 1)
        there = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(known)[:_MOST_LETTERS] or 'none'}."
        raise DataError(f"{name}: no function {function!r}; expected one of the file's. {there}")
    return found


def _file(name: str) -> str:
    """Return what of a name is the file; of an offer all of it."""
    return name.rpartition(":")[0] or name


def _place(file: str) -> str:
    """Return what tracebacks call a file: no path, since nothing need lie there."""
    return f"<{file}>"


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Turn whatever a user's code raises into one line, but for what stops the whole command."""
    place = _place(_file(name))
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, MemoryError) and _line(error, place) is None:  # it is not the code's
            raise
        line = error.lineno if isinstance(error, SyntaxError) and error.filename == place else _line(error, place)
        where = f"{_file(name)}, line {line}" if line else _file(name)
        cure = " It is to be one file, which imports what is installed." if isinstance(error, ImportError) else ""
        raise DataError(
            f"{where}: {one_line(error)}; expected {_expected(name)} to run without an exception.{cure}"
        ) from None


def _expected(name: str) -> str:
    return name.rpartition(":")[2] if ":" in name else "the file"


def _line(error: BaseException, place: str) -> int | None:
    """Return the last line of a place that an exception came through; None if there is none."""
    lines, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == place:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return lines[-1] if lines else None
