"""Job folder: what a killed launcher leaves unpublished is removed by the next one, and what others use is not."""

import subprocess
import sys
from pathlib import Path

import pytest

from relusweep.cluster.jobs.folder import JobFolder
from relusweep.sweep.store.store import Store

KILLED = """
import os, sys
from pathlib import Path
from relusweep.cluster.jobs.folder import JobFolder
from relusweep.sweep.store.store import Store
folder = JobFolder.new(Store(Path(sys.argv[1])))
with folder.held():
    folder.make()
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def test_folder_of_a_killed_launcher_is_removed_by_the_next_one_and_that_of_a_living_is_not(store: Store) -> None:
    subprocess.run([sys.executable, "-c", KILLED, store.path], check=False)
    (left,) = (store.path / "jobs").iterdir()
    assert (store.path / "claims" / f"{left.name}.json").exists()
    others = {store.path / "jobs" / name for name in (".nfs0001", "notes")}
    for other in others:
        other.touch()
    living, published, new = (JobFolder.new(store) for _ in range(3))
    with living.held():
        living.make()
        published.make()
        (published.path / "submission.json").touch()
        new.make("logs")
        assert {*(store.path / "jobs").iterdir()} == {living.path, published.path, new.path} | others
        assert [path.stem for path in (store.path / "claims").glob("*.json")] == [living.id]
        assert (living.is_held, new.is_held) == (True, False)


def test_folder_is_its_owners_alone_and_goes_whole(store: Store) -> None:
    folder = JobFolder.new(store)
    assert (folder.store.path, folder.path.parent) == (store.path, store.path / "jobs")
    folder.make("logs")
    assert {path.stat().st_mode & 0o777 for path in (folder.path, folder.path / "logs")} == {0o700}
    folder.remove()
    assert not folder.path.exists()
