"""Submission: what was handed to SLURM at one time, as a folder of the store that any process on any host may read.

    jobs/<id>/submission.json   elements with their packs, arrays, machine, when; written before sbatch is called
              packs.parquet     a row group a pack: run ids, and the parameters that differ from the defaults
              jobs.json         ids of the jobs, as SLURM gives them
              elements/         what each element says of itself: <k>.json, and <k>.ended.json at its end
              logs/             submitit's scripts, and what the elements print
              report/           the same of the job that writes the report
              ended.json        why none of its jobs is to train any more
An element is one task of an array and trains its packs one after the other. Loads neither torch nor submitit.
"""

import json
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from relusweep.cluster.backend import Job
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.atomic import StoreError, replacing, store_errors, write_json
from relusweep.sweep.store.lease import active_packs, leased
from relusweep.sweep.store.part import UNREADABLE
from relusweep.sweep.store.run_ids import RunIds, keys_of
from relusweep.sweep.store.store import Store

_ID_BYTES = 6
_SCHEMA = pa.schema([("run_id", pa.string()), ("parameters", pa.string())])


@dataclass(frozen=True)
class Bundle:
    """What is known of a pack without reading its runs."""

    pack_id: str
    runs: int
    seconds: float  # at most, on one worker


@dataclass(frozen=True)
class Element:
    """Packs, by their row groups, and how long they take at most with all workers of a job."""

    packs: tuple[int, ...]
    runs: int
    seconds: float


@dataclass(frozen=True)
class Submission:
    """A folder `jobs/<id>`."""

    path: Path

    @property
    def id(self) -> str:
        """What the folder and, within their names, the jobs are called."""
        return self.path.name

    @property
    def store(self) -> Store:
        """Where its runs are recorded."""
        return Store(self.path.parent.parent)

    @cached_property
    def content(self) -> dict[str, Any]:
        """What submission.json says; it never changes.

        Raises:
            StoreError: if it cannot be read.
        """
        path = self.path / "submission.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            missing = {"job", "packs", "elements", "arrays", "machine", "time"} - set(content)
            problem = f"{', '.join(sorted(missing))} missing" if missing else ""
        except (OSError, ValueError) as error:
            content, problem = {}, str(error)
        if problem:
            raise self._unreadable(path, problem)
        return content

    def _unreadable(self, path: Path, problem: str) -> StoreError:
        return StoreError(
            f"{path}: cannot be read ({problem}); expected what relusweep wrote. Cancel the jobs whose names begin "
            f"with relusweep-{self.id} (squeue --me), then delete that folder."
        )

    @cached_property
    def job(self) -> Job:
        """What its workers need to know."""
        told = self.content["job"]
        return Job(
            self.store.path, Measure.model_validate(told["measure"]), told["backend"], told["checkpoint_seconds"],
            told["since"],
        )  # fmt: skip

    @cached_property
    def bundles(self) -> list[Bundle]:
        """Its packs, in the order of the row groups."""
        return [Bundle(*bundle) for bundle in self.content["packs"]]

    @cached_property
    def elements(self) -> list[Element]:
        """Its elements, in the order of their numbers."""
        return [Element(tuple(packs), runs, seconds) for packs, runs, seconds in self.content["elements"]]

    @cached_property
    def arrays(self) -> list[range]:
        """The elements of each array."""
        return [range(first, end) for first, end in self.content["arrays"]]

    @property
    def is_published(self) -> bool:
        """Whether anybody else may see it, so that a job of it may exist."""
        return (self.path / "submission.json").exists()

    # Names: known before SLURM is asked to do anything, and found again by anybody who knows the store ----------------

    def job_name(self, array: int | str) -> str:
        """Name of the job of an array, or of the report."""
        return f"relusweep-{self.id}.{array}"

    @property
    def job_names(self) -> list[str]:
        """Names of all its jobs."""
        return [self.job_name(array) for array in (*range(len(self.arrays)), "report")]

    def element_of(self, job_name: str, index: int) -> int | None:
        """Number of the element that is this task of the job of this name; None if it is none of ours."""
        prefix, _, array = job_name.rpartition(".")
        if prefix != f"relusweep-{self.id}" or not array.isdigit() or int(array) >= len(self.arrays):
            return None
        elements = self.arrays[int(array)]
        return elements[index] if index < len(elements) else None

    def task_of(self, element: int) -> str | None:
        """What SLURM calls an element, if its job's id was written down."""
        jobs = self.jobs
        for array, elements in enumerate(self.arrays):
            if element in elements and array < len(jobs):
                return f"{jobs[array]}_{element - elements.start}" if len(elements) > 1 else jobs[array]
        return None

    # Packs -----------------------------------------------------------------------------------------------------------

    @contextmanager
    def _packs_file(self) -> Iterator[pq.ParquetFile]:
        path = self.path / "packs.parquet"
        try:
            with pq.ParquetFile(path) as file:
                yield file
        except UNREADABLE as error:
            raise self._unreadable(path, str(error).splitlines()[0]) from None

    def packs(self, numbers: Iterable[int]) -> Iterator[Pack]:
        """Read packs; the others stay on the disk.

        Raises:
            StoreError: if they cannot be read.
        """
        with self._packs_file() as file:
            for number in numbers:
                texts = file.read_row_group(number, columns=["parameters"])["parameters"].to_pylist()
                yield Pack(tuple(Run.model_validate(json.loads(text)) for text in texts))

    @cached_property
    def run_ids(self) -> list[RunIds]:
        """Ids of the runs of each element."""
        with self._packs_file() as file:
            keys = [keys_of(file.read_row_group(k, columns=["run_id"])["run_id"]) for k in range(file.num_row_groups)]
        return [RunIds.of(*(keys[number] for number in element.packs)) for element in self.elements]

    def untouched(self) -> list[int]:
        """Row groups of the packs that, by the names of files, nobody has begun, or somebody has stopped in order."""
        recorded = {part.stem.removeprefix("pack-") for part in self.store.parts()}
        folders = (self.store.path / "claims", self.store.path / "failures")
        touched = recorded.union(path.stem for folder in folders for path in folder.glob("[!.]*.json"))
        return [number for number, bundle in enumerate(self.bundles) if bundle.pack_id not in touched]

    # What becomes of it ----------------------------------------------------------------------------------------------

    @property
    def jobs(self) -> list[str]:
        """Ids of the jobs of its arrays, those that were written down."""
        return self._told("jobs.json").get("jobs", [])

    def write_jobs(self, jobs: list[str], report: str | None = None) -> None:
        """Write down the ids that SLURM gave."""
        with store_errors(self.path):
            write_json(self.path / "jobs.json", {"jobs": jobs, "report": report})

    @property
    def is_being_submitted(self) -> bool:
        """Whether its launcher is calling sbatch just now."""
        return self.id in active_packs(self.store)

    @contextmanager
    def being_submitted(self) -> Iterator[None]:
        """Tell other launchers that jobs of it may yet come."""
        with leased(self.store, self.id, ()):
            yield

    @property
    def ended(self) -> str | None:
        """Why none of its jobs is to train any more; None while one may."""
        return self._told("ended.json").get("why")

    def end(self, why: str) -> None:
        """Say that none of its jobs is to train any more."""
        with store_errors(self.path):
            write_json(self.path / "ended.json", {"why": why, "time": time.time()})
            if not self.is_being_submitted:
                self.drop_claim()

    def ends(self) -> set[int]:
        """Numbers of the elements to which nothing is left."""
        names = [path.name.split(".") for path in (self.path / "elements").glob("[!.]*.ended.json")]
        return {int(number) for number, *_ in names}

    def end_of(self, element: int) -> dict[str, Any]:
        """What an element said at its end: `outcomes` by pack id, `error` if something stopped it."""
        return self._told(f"elements/{element}.ended.json")

    def end_element(self, element: int, outcomes: Mapping[str, Any], error: str = "", kind: str = "") -> None:
        """Say, as an element, that nothing is left to it."""
        ending = {"outcomes": dict(outcomes), "error": error, "kind": kind, "time": time.time()}
        with store_errors(self.path):
            write_json(self.path / "elements" / f"{element}.ended.json", ending)

    def account_of(self, element: int) -> dict[str, Any]:
        """What an element keeps over its restarts; empty before its first start."""
        return self._told(f"elements/{element}.json")

    def write_account(self, element: int, account: Mapping[str, Any]) -> None:
        """Keep something over restarts of an element."""
        with store_errors(self.path):
            write_json(self.path / "elements" / f"{element}.json", dict(account))

    def _told(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def drop_claim(self) -> None:
        """Delete the claim of a launcher that was killed: nobody else will take it up."""
        (self.store.path / "claims" / f"{self.id}.json").unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete it as if it had never been: no job of it exists."""
        (self.path / "submission.json").unlink(missing_ok=True)  # first, so that nobody believes the rest
        shutil.rmtree(self.path, ignore_errors=True)


class Draft:
    """A submission that takes up packs as they come; nobody else sees it before `publish`."""

    def __init__(self, store: Store) -> None:
        self.submission = Submission(store.path / "jobs" / secrets.token_hex(_ID_BYTES))
        self.bundles: list[Bundle] = []

    def take(self, packs: Iterable[tuple[Pack, float]]) -> None:
        """Write packs, each with the seconds that it takes at most; while it is being submitted, or it goes again."""
        folder, path = self.submission.path, self.submission.path / "packs.parquet"
        with store_errors(folder):
            folder.parent.mkdir(exist_ok=True, mode=0o700)
            _remove_left_drafts(self.submission.store)
            for made in (folder, folder / "elements", folder / "logs"):
                made.mkdir(mode=0o700)
        with (
            store_errors(path),
            replacing(path) as temporary,
            pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as file,
        ):
            for pack, seconds in packs:
                ids = [run.id for run in pack.runs]
                texts = [json.dumps(run.model_dump(exclude_defaults=True)) for run in pack.runs]
                file.write_table(pa.table([ids, texts], schema=_SCHEMA), row_group_size=len(ids))
                self.bundles.append(Bundle(pack.id, len(ids), seconds))

    def publish(self, elements: list[Element], arrays: list[range], job: Job, told: Mapping[str, Any]) -> Submission:
        """Make it a submission. From now on its runs count as pending if SLURM knows a job of its name."""
        content = dict(told) | {
            "job": asdict(job) | {"store": "", "measure": job.measure.model_dump()},
            "packs": [[bundle.pack_id, bundle.runs, bundle.seconds] for bundle in self.bundles],
            "elements": [[element.packs, element.runs, element.seconds] for element in elements],
            "arrays": [[array.start, array.stop] for array in arrays],
        }
        with store_errors(self.submission.path):
            write_json(self.submission.path / "submission.json", content)
        return self.submission


def submissions(store: Store) -> list[Submission]:
    """List all submissions, in no order."""
    return [Submission(path.parent) for path in (store.path / "jobs").glob("*/submission.json")]


def open_submissions(store: Store) -> list[Submission]:
    """List the submissions that have not ended, as far as their files tell; the oldest first."""
    opened = (each for each in submissions(store) if each.ended is None)
    return sorted(opened, key=lambda each: each.content["time"])


def _remove_left_drafts(store: Store) -> None:
    """Delete what killed launchers left: before `publish` there is no job."""
    found = [Submission(path) for path in (store.path / "jobs").glob("[0-9a-f]" * 2 * _ID_BYTES)]
    living = active_packs(store)  # asked afterwards: who makes a draft has claimed it
    for draft in found:
        if draft.id not in living and not draft.is_published:
            draft.remove()
            draft.drop_claim()
