"""Findings: what `doctor` reports, and how a back-end's checks word it."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for: a line for the user. `absent` is not there and not needed, `missing` is."""

    state: Literal["ok", "absent", "missing"]
    text: str


def found(is_there: bool, needed: bool, text: str) -> Finding:
    """Return the finding of something that is there or not, and that the chosen back-end needs or not."""
    return Finding("ok" if is_there else "missing" if needed else "absent", text)


def library(name: str, extra: str, needed: bool) -> Finding:
    """Return which version of a library is installed; an extra, called like the back-end, installs it."""
    try:
        return Finding("ok", f"{name} {version(name)}")
    except PackageNotFoundError:
        cure = f"pip install 'relusweep[{extra}]'"
        return found(False, needed, f"{name}: not installed; --on {extra} needs it. {cure}")
