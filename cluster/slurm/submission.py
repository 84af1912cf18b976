"""Submission: what was handed to SLURM at one time, as a folder of the store that any process on any host may read.

    jobs/<id>/submission.json   array tasks with their packs, arrays, machine, when; written before sbatch is called
              packs.parquet     the packs, see `PackFile`
              jobs.json         ids of the jobs, as SLURM gives them
              elements/         what each array task writes of itself: <k>.json, and <k>.ended.json at its end
              logs/             submitit's scripts, and what the tasks print
              report/           the same of the job that writes the report
              ended.json        why none of its jobs is to train any more
A task of an array trains its packs one after the other. Loads neither torch nor submitit.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from relusweep.cluster.backend import Assignment
from relusweep.cluster.jobs.folder import JobFolder
from relusweep.cluster.jobs.pack_file import PackFile
from relusweep.cluster.slurm.arrays import ArrayTask, Bundle
from relusweep.cluster.slurm.written import note_in, submission_in
from relusweep.sweep.pack import Pack
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.atomic import StoreError, store_errors, write_json
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store

FOLDERS = ("elements", "logs")
CANCELLED = "cancelled"  # why a submission has ended


@dataclass(frozen=True)
class Submission:
    """A folder `jobs/<id>`."""

    path: Path

    @property
    def folder(self) -> JobFolder:
        """The folder, as any back-end has it."""
        return JobFolder(self.path)

    @property
    def id(self) -> str:
        """What the folder and, within their names, the jobs are called."""
        return self.folder.id

    @property
    def store(self) -> Store:
        """Where its runs are recorded."""
        return self.folder.store

    @cached_property
    def content(self) -> dict[str, Any]:
        """What submission.json holds; it never changes.

        Raises:
            StoreError: if it cannot be read.
        """
        path = self.path / "submission.json"
        try:
            return submission_in(path)
        except (OSError, ValueError) as error:
            problem = str(error).splitlines()[0]
            raise StoreError(
                f"{path}: cannot be read ({problem}); expected what relusweep wrote. {self._cure}"
            ) from None

    @property
    def _cure(self) -> str:
        return f"Cancel the jobs whose names begin with relusweep-{self.id} (squeue --me), then delete that folder."

    @cached_property
    def assignment(self) -> Assignment:
        """What its workers need to know."""
        given = self.content["job"]
        return Assignment(
            self.store.path, Measure.model_validate(given["measure"]), given["backend"], given["checkpoint_seconds"],
            given["since"],
        )  # fmt: skip

    @cached_property
    def bundles(self) -> list[Bundle]:
        """Its packs, in the order of their numbers."""
        return [Bundle(*bundle) for bundle in self.content["packs"]]

    @cached_property
    def tasks(self) -> list[ArrayTask]:
        """The tasks of its arrays, in the order of their numbers."""
        return [ArrayTask(tuple(packs), runs, seconds) for packs, runs, seconds in self.content["elements"]]

    @cached_property
    def arrays(self) -> list[range]:
        """Numbers of the tasks of each array."""
        return [range(first, end) for first, end in self.content["arrays"]]

    # Names: known before SLURM is asked to do anything, and found again by whoever knows the store --------------------

    def job_name(self, array: int | str) -> str:
        """Return the name of the job of an array, or of the report."""
        return f"relusweep-{self.id}.{array}"

    @property
    def job_names(self) -> list[str]:
        """Names of all its jobs."""
        return [self.job_name(array) for array in (*range(len(self.arrays)), "report")]

    def task_number(self, job_name: str, index: int) -> int | None:
        """Return the number of the task with this index in the array of this name; None if it is none of ours."""
        prefix, _, array = job_name.rpartition(".")
        arrays = {str(number): tasks for number, tasks in enumerate(self.arrays)}
        if prefix != f"relusweep-{self.id}" or array not in arrays:
            return None
        return arrays[array][index] if index < len(arrays[array]) else None

    def slurm_id(self, task: int) -> str | None:
        """Return what SLURM calls a task, if its job's id was written down."""
        jobs = self.jobs
        for array, tasks in enumerate(self.arrays):
            if task in tasks and array < len(jobs):
                return f"{jobs[array]}_{task - tasks.start}" if len(tasks) > 1 else jobs[array]
        return None

    # Packs -----------------------------------------------------------------------------------------------------------

    @property
    def pack_file(self) -> PackFile:
        """The file that its packs are in."""
        return PackFile(self.path / "packs.parquet", self._cure)

    def packs(self, numbers: Iterable[int]) -> Iterator[Pack]:
        """Yield packs; the others stay on the disk.

        Raises:
            StoreError: if they cannot be read.
        """
        return self.pack_file.read(numbers)

    @cached_property
    def run_ids(self) -> list[RunIds]:
        """Ids of the runs of each task."""
        of_packs = self.pack_file.run_ids()
        return [RunIds.of(*(of_packs[number].keys for number in task.packs)) for task in self.tasks]

    def untouched(self) -> list[int]:
        """Return the packs that, by the names of files, were never begun, or were stopped in order."""
        recorded = {part.stem.removeprefix("pack-") for part in self.store.parts()}
        folders = (self.store.path / "claims", self.store.path / "failures")
        touched = recorded.union(path.stem for folder in folders for path in folder.glob("[!.]*.json"))
        return [number for number, bundle in enumerate(self.bundles) if bundle.pack_id not in touched]

    # What becomes of it ----------------------------------------------------------------------------------------------

    @property
    def jobs(self) -> list[str]:
        """Ids of the jobs of its arrays, those that were written down."""
        return self._read("jobs.json").get("jobs", [])

    def write_jobs(self, jobs: list[str], report: str | None = None) -> None:
        """Write down the ids that SLURM gave."""
        with store_errors(self.path):
            write_json(self.path / "jobs.json", {"jobs": jobs, "report": report})

    @property
    def is_being_submitted(self) -> bool:
        """Whether its launcher is calling sbatch just now."""
        return self.folder.is_held

    def being_submitted(self) -> AbstractContextManager[None]:
        """Show other launchers that jobs of it may yet come."""
        return self.folder.held()

    @property
    def ended(self) -> str | None:
        """Why none of its jobs is to train any more; None while one may."""
        return self._read("ended.json").get("why")

    def end(self, why: str) -> None:
        """Write down that none of its jobs is to train any more."""
        with store_errors(self.path):
            write_json(self.path / "ended.json", {"why": why, "time": time.time()})
            if not self.is_being_submitted:
                self.folder.release()

    def ended_tasks(self) -> set[int]:
        """Return the numbers of the tasks that have ended by themselves."""
        names = [path.name.split(".")[0] for path in (self.path / "elements").glob("[0-9]*.ended.json")]
        return {int(number) for number in names if number.isdecimal() and len(number) < 10} & set(
            range(len(self.tasks))
        )

    def ending(self, task: int) -> dict[str, Any]:
        """Return what a task wrote at its end: `outcomes` by pack id, `error` if something stopped it."""
        return self._read(f"elements/{task}.ended.json")

    def end_task(self, task: int, outcomes: Mapping[str, Any], error: str = "", kind: str = "") -> None:
        """Write down, as a task, that it has nothing left to train."""
        ending = {"outcomes": dict(outcomes), "error": error, "kind": kind, "time": time.time()}
        with store_errors(self.path):
            write_json(self.path / "elements" / f"{task}.ended.json", ending)

    def history(self, task: int) -> dict[str, Any]:
        """Return what a task keeps over its restarts; empty before its first start."""
        kept = self._read(f"elements/{task}.json")
        return kept if all(number < len(self.bundles) for number in kept.get("taken", [])) else {}

    def write_history(self, task: int, history: Mapping[str, Any]) -> None:
        """Keep something over restarts of a task."""
        with store_errors(self.path):
            write_json(self.path / "elements" / f"{task}.json", dict(history))

    def _read(self, name: str) -> dict[str, Any]:
        return note_in(self.path / name)


def submissions(store: Store) -> list[Submission]:
    """Return all submissions of a store, in no order."""
    return [Submission(folder.path) for folder in JobFolder.all_of(store) if folder.is_published]


def open_submissions(store: Store) -> list[Submission]:
    """Return the submissions that have not ended, as far as their files tell; the oldest first."""
    opened = (each for each in submissions(store) if each.ended is None)
    return sorted(opened, key=lambda each: each.content["time"])
