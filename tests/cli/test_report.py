"""`relusweep report`"""

from collections.abc import Callable
from pathlib import Path

from relusweep.sweep.store.store import Store


def test_report_of_nothing_or_of_no_study_is_refused(refused: Callable[..., str], store: Path, tmp_path: Path) -> None:
    Store.create(tmp_path / "new")
    assert "new: nothing to report, got 0 recorded runs" in refused("report", "new")
    assert "study = 'stabilty': unknown study" in refused("report", store, "--study", "stabilty")
