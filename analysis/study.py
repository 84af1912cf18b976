"""Study: one question answered over the table, in tables, figures and verdicts; the contract that a study signs."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl
from matplotlib.figure import Figure

from relusweep.analysis.bounds import Bound
from relusweep.analysis.table import Table
from relusweep.sweep.record import KEYS, SCHEMAS

Level = Literal["confirmed", "refuted", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """A question, and what the data say about it: `sentence` never claims more than they do.

    `about` separates a claim that must hold (a theorem, or agreement of the measures) from a finding, to which "no" is
    as good an answer as "yes": only a refuted theorem is an alarm.
    """

    question: str
    level: Level
    sentence: str
    about: Literal["theorem", "finding"] = "theorem"

    @property
    def answer(self) -> str:
        """The level in the word that fits the question."""
        return self.level if self.about == "theorem" else {"confirmed": "yes", "refuted": "no"}.get(self.level, "open")


@dataclass(frozen=True)
class Shown:
    """What a reader has to know to read a table or a figure."""

    title: str
    caption: str


@dataclass(frozen=True)
class StudyResult:
    """What a study found in a table.

    Attributes:
        verdicts: In the order of the page.
        tables: By key; keys become file names.
        figures: Likewise; the first is the main one.
        bounds: The theorems that were checked, as they speak of these runs.
        notes: What the verdicts do not cover, a sentence each.
    """

    verdicts: list[Verdict]
    tables: dict[str, pl.DataFrame]
    figures: dict[str, Figure]
    bounds: list[Bound] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Study:
    """A question, the function that answers it over a table of runs, and what a reader needs besides.

    Attributes:
        function: Answers the question. Its tables and figures have keys of `shown`.
        moments: The measures of the trajectories that it reads: columns of the table `trajectories`, none if ().
        title: What the page is called.
        question: What is asked, in one sentence.
        shown: Title and caption of every table and figure that it may return, by their keys.
        glossary: Symbols and words with their meaning, in the order of the page.

    Raises:
        ValueError: when the module that makes the study is imported, if something is empty or no such moment exists.
    """

    function: Callable[[Table], StudyResult]
    moments: tuple[str, ...]
    title: str
    question: str
    shown: Mapping[str, Shown]
    glossary: Sequence[tuple[str, str]]

    def __post_init__(self) -> None:
        """Refuse what could only fail in a report."""
        if lacking := [name for name in ("title", "question", "shown") if not getattr(self, name)]:
            raise ValueError(f"study {self.title!r}: {', '.join(lacking)} empty; expected a text or captions")
        recorded = [name for name in SCHEMAS["trajectories"].names if name not in KEYS["trajectories"]]
        if unknown := [name for name in self.moments if name not in recorded]:
            raise ValueError(f"study {self.title!r}: moments {unknown}; expected some of {', '.join(recorded)}")

    def __call__(self, table: Table) -> StudyResult:
        """Return the answer over a table of runs.

        Raises:
            ValueError: if a table or figure of it has no caption.
        """
        result = self.function(table)
        if lacking := [key for key in (*result.tables, *result.figures) if key not in self.shown]:
            raise ValueError(f"study {self.title!r}: {', '.join(lacking)} without a caption; expected each in `shown`")
        return result


def load(place: str) -> Study:
    """Return the study that stands at `module:name`, as `studies.STUDIES` names it.

    Raises:
        TypeError: if something else stands there.
    """
    path, name = place.split(":")
    found = getattr(importlib.import_module(path), name)
    if not isinstance(found, Study):
        raise TypeError(f"{place}: got a {type(found).__name__}; expected a Study")
    return found
