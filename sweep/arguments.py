"""Arguments: what [target] hands to a user's function, as one text with sorted keys, so that they are one column."""

import json
import math
from collections.abc import Mapping
from typing import Any

PREFIX = "target."  # of keys in a spec: `target.angle` is the argument `angle`
_MOST_WHOLE = 2**63


def fault(name: str, value: Any) -> str | None:
    """Return what was expected of an argument; None if it is one.

    Args:
        name: As the function calls it.
        value: A number, a text, or true or false: what TOML and JSON write the same way.
    """
    if not (name.isascii() and name.isidentifier()):
        return "an argument's name of letters, digits and '_'"
    if type(value) not in (bool, int, float, str):
        return "a number, a text, true or false"
    if type(value) is float and not math.isfinite(value):
        return "a finite number"
    if type(value) is int and abs(value) >= _MOST_WHOLE:
        return "a whole number of 64 bits"
    return None


def canonical(given: Any) -> Any:
    """Return arguments as their one text; what is neither a table nor a text stays as it is.

    30 and 30.0 are two values, as they are in Python; every float is written so that it is read as the same.

    Raises:
        ValueError: if there are none, one of them is none, or a text is another one than would be written.
    """
    values = given
    if isinstance(given, str):
        try:
            values = json.loads(given)
        except (ValueError, RecursionError):
            values = None
    elif not isinstance(given, Mapping):
        return given
    if not isinstance(values, Mapping) or not values:
        raise ValueError(f"= {str(given)[:80]!r}; expected a JSON object of one argument or more.")
    for name, value in values.items():
        if expected := fault(name, value):
            raise ValueError(f"= {str(given)[:80]!r}; {name[:80]!r}: expected {expected}.")
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    if isinstance(given, str) and given != text:
        raise ValueError(f"= {given[:80]!r}; expected it as it is written here: {text[:80]!r}.")
    return text


def parsed(text: str | None) -> dict[str, Any]:
    """Return the arguments that are written in a text; none of null."""
    return json.loads(text) if text else {}


def gathered(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a run, in which keys such as `target.angle` have become the one text.

    Raises:
        ValueError: if the text is given beside them.
    """
    found = {key.removeprefix(PREFIX): value for key, value in values.items() if key.startswith(PREFIX)}
    if not found:
        return dict(values)
    if values.get("target_arguments") is not None:
        raise ValueError(
            f"target_arguments is given beside target.{min(found)}; expected one of them. Leave target_arguments out."
        )
    others = {key: value for key, value in values.items() if not key.startswith(PREFIX)}
    return others | {"target_arguments": canonical(found)}
