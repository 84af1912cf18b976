"""TOML file: what a user wrote, read within bounds; whatever is wrong with it is one line."""

import tomllib
from pathlib import Path
from typing import Any

from relusweep.sweep.errors import RelusweepError

_MOST_BYTES = 2**26


def text_of(path: Path, noun: str, refusal: type[RelusweepError]) -> str:
    """Read a text file.

    Args:
        path: Where it lies.
        noun: What was expected there, as `a spec`.
        refusal: What is raised if it is no text, or too long a one.

    Raises:
        OSError: if it cannot be read.
    """
    content = bytearray()
    with open(path, "rb") as file:
        while len(content) <= _MOST_BYTES and (piece := file.read(2**16)):
            content += piece
    if len(content) > _MOST_BYTES:
        raise refusal(f"{path}: more than {_MOST_BYTES // 2**20} MiB; expected {noun} in TOML.")
    try:
        return content.decode("utf-8-sig")  # some editors put a mark before the text
    except UnicodeDecodeError:
        raise refusal(f"{path}: not a text file; expected {noun} in TOML, UTF-8.") from None


def parsed(text: str, place: str, refusal: type[RelusweepError]) -> dict[str, Any]:
    """Return the tables of a text; `place` is what a refusal calls it."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise refusal(f"{place}: not valid TOML: brackets in brackets a thousand deep") from None
    except ValueError as error:  # a number of too many digits is one of these
        raise refusal(f"{place}: not valid TOML: {error}") from None
