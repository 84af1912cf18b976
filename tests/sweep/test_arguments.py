"""Arguments: one text for what a function is called with, whatever order and spelling it was given in."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relusweep.sweep.arguments import canonical, fault, gathered, parsed

NAMES = st.text("abcXYZ_", min_size=1, max_size=5)
VALUES = (
    st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
)
ARGUMENTS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=5)


@given(ARGUMENTS)
def test_arguments_are_read_as_they_were_given_whatever_their_order(arguments: dict[str, Any]) -> None:
    text = canonical(arguments)
    assert canonical(dict(reversed(arguments.items()))) == canonical(text) == text
    assert text.isascii()
    for name, value in parsed(text).items():
        assert type(value) is type(arguments[name])
        assert value == arguments[name]
        assert not isinstance(value, float) or math.copysign(1, value) == math.copysign(1, arguments[name])


def test_whole_numbers_and_floats_are_two_values() -> None:
    assert canonical({"a": 30}) != canonical({"a": 30.0})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("a", [1], "a number, a text, true or false"),
        ("a", None, "a number, a text, true or false"),
        ("a", math.inf, "a finite number"),
        ("a", 2**63, "a whole number of 64 bits"),
        ("a b", 1, "an argument's name of letters"),
        ("", 1, "an argument's name of letters"),
        ("größe", 1, "an argument's name of letters"),
    ],
)
def test_what_is_no_argument_is_refused(name: str, value: Any, expected: str) -> None:
    found = fault(name, value)
    assert found
    assert found.startswith(expected)
    with pytest.raises(ValueError, match=expected):
        canonical({name: value})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected a JSON object of one argument or more"),
        ("[1]", "expected a JSON object"),
        ("x", "expected a JSON object"),
        ("[" * 100_000, "expected a JSON object"),
        ('{"a":' + "9" * 5000 + "}", "expected a JSON object"),
        ('{"a":NaN}', "expected a finite number"),
        ('{"a": 1}', "expected it as it is written here: '{\"a\":1}'"),
        ('{"b":1,"a":1}', "expected it as it is written here"),
        ('{"a":1,"a":1}', "expected it as it is written here"),
        ('{"a":{"b":1}}', "'a': expected a number"),
    ],
)
def test_text_that_is_not_written_here_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        canonical(text)


def test_keys_of_a_spec_become_the_text() -> None:
    assert gathered({"lr": 0.1}) == {"lr": 0.1}
    found = gathered({"lr": 0.1, "target.b": "u", "target.a": 2})
    assert found == {"lr": 0.1, "target_arguments": '{"a":2,"b":"u"}'}
    with pytest.raises(ValueError, match=r"target_arguments is given beside target.a; expected one of them"):
        gathered({"target.a": 1, "target_arguments": json.dumps({"a": 1})})
