"""Draft: a submission that takes up packs as they come; other launchers do not see it before it is published."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from relusweep.cluster.backend import Assignment
from relusweep.cluster.jobs.folder import JobFolder
from relusweep.cluster.slurm.arrays import ArrayTask, Bundle
from relusweep.cluster.slurm.submission import FOLDERS, Submission
from relusweep.sweep.pack import Pack
from relusweep.sweep.store.atomic import store_errors, write_json
from relusweep.sweep.store.store import Store


class Draft:
    """One of them."""

    def __init__(self, store: Store) -> None:
        self.submission = Submission(JobFolder.new(store).path)
        self.bundles: list[Bundle] = []

    def take(self, packs: Iterable[tuple[Pack, float]]) -> None:
        """Write packs, each with the seconds that it takes at most; while it is being submitted, or it goes again."""
        self.submission.folder.make(*FOLDERS)
        self.submission.pack_file.write(self._noted(packs))

    def _noted(self, packs: Iterable[tuple[Pack, float]]) -> Iterator[Pack]:
        for pack, seconds in packs:
            yield pack
            self.bundles.append(Bundle(pack.id, len(pack.runs), seconds))

    def publish(
        self, tasks: list[ArrayTask], arrays: list[range], assignment: Assignment, circumstances: Mapping[str, Any]
    ) -> Submission:
        """Make it a submission. From now on its runs count as pending if SLURM knows a job of its name.

        Args:
            tasks: Who is to train which of the packs.
            arrays: Which tasks each array has.
            assignment: What workers need to know.
            circumstances: When and where it was made, and for which machine.
        """
        content = dict(circumstances) | {
            "job": asdict(assignment) | {"store": "", "measure": assignment.measure.model_dump()},
            "packs": [[bundle.pack_id, bundle.runs, bundle.seconds] for bundle in self.bundles],
            "elements": [[task.packs, task.runs, task.seconds] for task in tasks],
            "arrays": [[array.start, array.stop] for array in arrays],
        }
        with store_errors(self.submission.path):
            write_json(self.submission.path / "submission.json", content)
        return self.submission
