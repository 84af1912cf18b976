"""Trust: Python runs where its user has chosen to run it, is remembered, and is refused everywhere else."""

from pathlib import Path

import pytest

from relusweep.sweep import trust
from relusweep.sweep.trust import TrustError

ONE, OTHER = "1" * 32, "2" * 32


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user who has run nothing yet."""
    monkeypatch.setattr(trust, "_permitted", set())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "relusweep" / "trusted"


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as the next process does."""
    monkeypatch.setattr(trust, "_permitted", set())


def test_nothing_may_run_until_it_is_permitted_or_taken(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    with pytest.raises(TrustError, match=r"^x.py: Python that a store brought along, .* Then add --trust.$"):
        trust.refuse(ONE, "x.py")
    assert not state.exists()
    trust.permit([ONE])
    trust.refuse(ONE, "x.py")
    with pytest.raises(TrustError):
        trust.refuse(OTHER, "x.py")
    later(monkeypatch)
    with pytest.raises(TrustError):
        trust.refuse(ONE, "x.py")


def test_what_was_taken_is_remembered_by_its_hash_where_its_user_alone_can_write(
    monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    trust.take([ONE])
    later(monkeypatch)
    trust.refuse(ONE, "x.py")
    with pytest.raises(TrustError):
        trust.refuse(OTHER, "x.py")
    assert [path.name for path in state.iterdir()] == [ONE]
    assert state.stat().st_mode & 0o777 == 0o700
    later(monkeypatch)
    state.chmod(0o777)
    with pytest.raises(TrustError):
        trust.refuse(ONE, "x.py")


def test_without_a_folder_for_it_it_is_taken_for_one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    trust.take([ONE])
    trust.refuse(ONE, "x.py")
    later(monkeypatch)
    with pytest.raises(TrustError):
        trust.refuse(ONE, "x.py")
