"""Spec error: one line about the first thing in a spec that is wrong: `file: key = value; what was expected; cure`."""

import difflib
import reprlib
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from relusweep.sweep import arguments
from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.run import PARAMETERS, WORDS, Run

_FORMS = {  # of texts that have one, in words: a regular expression is no help to who got it wrong
    "block": "one table or more. Write [[block]].",
    "name": "letters, digits, '_', '-' and '.', a letter or digit first. It becomes the name of a directory.",
    "every": "'end', 'log:N' or 'tail:N' with N from 1 to 999. Write 'log:20' for 20 log-spaced moments.",
    "bias": "true, false, or 'hidden' for biases on hidden units alone.",
    "content": "32 hexadecimal digits, which relusweep finds. Leave it out.",
    "init_content": "32 hexadecimal digits, which relusweep finds. Leave it out.",
    "target_source": "32 hexadecimal digits, ':' and a function, which relusweep finds. Leave it out.",
    "inputs_source": "32 hexadecimal digits, ':' and a function, which relusweep finds. Leave it out.",
    "classes": "two digits with a comma between them. Write '0,1'.",
}
_LENGTHS = {  # of texts, in words
    "string_too_short": "a text of {min_length} letter or more",
    "string_too_long": "a text of at most {max_length} letters",
}
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxlist = _SHORT.maxdict = 8


class SpecError(RelusweepError):
    """A spec is wrong: the message is one line, `file: key: what is wrong; what was expected; cure`."""


def checked(key: str, value: Any, place: str) -> Any:
    """Check the value of a parameter alone, so that the error can name its very place; return it as `Run` takes it."""
    if key.startswith(arguments.PREFIX):
        if expected := arguments.fault(key.removeprefix(arguments.PREFIX), value):
            raise SpecError(f"{place} = {shown(value)}; expected {expected}.")
        return value
    if key not in PARAMETERS:
        raise SpecError(f"{place}: unknown parameter; {nearest(key, PARAMETERS)}")
    if value in WORDS.get(key, ()):
        return value
    try:
        return _validator(key).validate_python(value)
    except ValidationError as error:
        quoted = ' An argument stands in [target], or in quotes: "target.angle".' if _is_table(key, value) else ""
        raise SpecError(f"{place} {_what(error.errors()[0], PARAMETERS, key)}{quoted}") from None


def _is_table(key: str, value: Any) -> bool:
    return key == "target" and isinstance(value, dict)


@cache
def _validator(key: str) -> Any:
    field = Run.model_fields[key]
    annotated: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(annotated, config=ConfigDict(strict=True))


def first_of(error: ValidationError) -> Any:
    """Choose the error to report: a key that is unknown rather than the one that is missing for it."""
    errors = error.errors()
    return next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])


def sentence(place: str, error: ValidationError, known: tuple[str, ...]) -> str:
    """Return one line about the first thing that is wrong, with its path in the file."""
    first = first_of(error)
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    what = _what(first, known, str(first["loc"][-1]) if first["loc"] else "")
    return (
        f"{place}: {path.removeprefix('.')}{' ' if what.startswith('=') else ': '}{what}"
        if path
        else f"{place}: {what}"
    )


def _what(error: Any, known: tuple[str, ...], key: str) -> str:
    """Return one validation error of a key as `= value; expected …`, or the nearest known key."""
    if error["type"] == "extra_forbidden":
        return f"unknown key; {nearest(key, known)}"
    if error["type"] == "missing":
        return f"missing; expected it here{' or in [fixed]' if key in PARAMETERS else ''}."
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if key in _FORMS:
        return f"= {shown(error['input'])}; expected {_FORMS[key]}"
    if error["type"] in _LENGTHS:
        return f"= {shown(error['input'])}; expected {_LENGTHS[error['type']].format(**error['ctx'])}."
    message = error["msg"].replace("Input should be ", "").replace("valid dictionary", "table")
    near = difflib.get_close_matches(
        str(error["input"])[:80], error.get("ctx", {}).get("expected", "").split("'")[1::2], 1
    )
    return f"= {shown(error['input'])}; expected {message}." + (f" Did you mean {near[0]!r}?" if near else "")


def nearest(name: str, known: tuple[str, ...]) -> str:
    """Name the known name that is meant, or list them all."""
    near = difflib.get_close_matches(name[:80], known, 1)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}."


def shown(value: Any) -> str:
    """Return a value as a message shows it: of a long one the beginning."""
    return _SHORT.repr(value)
