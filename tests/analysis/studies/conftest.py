"""A study, asked over planted rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.analysis.study import Study, StudyResult, Verdict
from relusweep.analysis.table import load


@pytest.fixture
def asked(store: Callable[..., Path]) -> Callable[[Study], Callable[..., StudyResult]]:
    """Return what asks a study over the rows of a store."""

    def ask(study: Study) -> Callable[..., StudyResult]:
        def answer(rows: list[dict[str, Any]], **given: Any) -> StudyResult:
            return study(load([store(rows, **given)]))

        return answer

    return ask


def verdict(result: StudyResult, words: str) -> Verdict:
    """Return the only verdict whose question has these words."""
    (found,) = [verdict for verdict in result.verdicts if words in verdict.question]
    return found
