"""Study: one question answered over the table, in tables, figures and verdicts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import polars as pl
from matplotlib.figure import Figure

from relusweep.analysis.bounds import Bound
from relusweep.analysis.table import Table

Level = Literal["confirmed", "refuted", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """A question, and what the data say about it: `sentence` never claims more than they do.

    `about` tells a claim that must hold (a theorem, or agreement of the measures) from a finding, to which "no" is as
    good an answer as "yes": only a refuted theorem is an alarm.
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
    """A table or a figure with what a reader has to know to read it."""

    title: str
    caption: str


@dataclass(frozen=True)
class StudyResult:
    """What a study found. The keys of `tables` and `figures` become file names; the first figure is the main one."""

    title: str
    question: str
    verdicts: list[Verdict]
    tables: dict[str, pl.DataFrame]
    figures: dict[str, Figure]
    shown: dict[str, Shown]  # title and caption of every table and figure, by the same keys
    bounds: list[Bound] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    glossary: list[tuple[str, str]] = field(default_factory=list)


Study = Callable[[Table], StudyResult]
