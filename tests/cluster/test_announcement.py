"""What takes long says so; what does not is silent."""

from collections.abc import Callable
from typing import Any

import pytest

from relusweep.cluster.announcement import announced


def test_line_comes_again_and_again_until_it_is_over(
    until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relusweep.cluster.announcement._SECONDS", 0.01)
    said: list[str] = []
    with announced("it goes on", said.append):
        until(lambda: len(said) > 2)
    assert set(said) == {"it goes on"}


def test_what_is_soon_over_is_silent() -> None:
    said: list[str] = []
    with announced("it goes on", said.append):
        pass
    assert said == []
