"""Store: a sweep's directory. Parquet parts written whole or not at all; a run is done when its id is in one.

    store.json   what makes the directory a store        checkpoints/  packs in training
    spec.toml    the sweep that was last run here         claims/       who trains which runs now
    planned.ids  the ids of its runs                     files/        data and code that they are trained on
    runs/ trajectories/ weights/   the three tables       progress/     one small file a worker
    aside/       parts that could not be read             failures/     one file a pack that crashed
    jobs/        what was handed to a cluster             states/       where runs stood at their last step
    report/      what `relusweep report` wrote
No database, no lock: every writer writes its own file under a temporary name and renames it. Loads no torch.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from relusweep.sweep.record import KEYS, SCHEMA_VERSION, SCHEMAS, provenance
from relusweep.sweep.store.atomic import StoreError, store_errors, write_json
from relusweep.sweep.store.files import StoreFiles
from relusweep.sweep.store.ledger import Ledger
from relusweep.sweep.store.outcomes import Outcomes, keys
from relusweep.sweep.store.part import (
    as_table,
    check,
    columns_of,
    completed,
    distinct,
    extra_in,
    outcomes,
    pieces,
    stack,
    take_each,
    with_extra,
    write_part,
)
from relusweep.sweep.store.run_ids import Keys, RunIds, keys_of
from relusweep.sweep.store.small_file import content_of

TABLES = tuple(SCHEMAS)
FOLDERS = (*TABLES, "checkpoints", "claims", "progress", "failures")
CLOCK_SECONDS = 600  # by which the clocks of a file system's servers may differ
T = TypeVar("T")


@dataclass(frozen=True)
class Store(StoreFiles):
    """A sweep's directory: its tables, and the small files that `StoreFiles` reads and writes."""

    @staticmethod
    def open(path: str | Path) -> "Store":
        """Open an existing store.

        Raises:
            StoreError: if the path is not a store, or one of a later schema version.
        """
        path = Path(path)
        _refuse_no_text(path)
        if not path.is_dir():
            raise StoreError(f"{path}: no such directory; expected a store written by `relusweep run`.")
        if (schema := _schema(path)) > SCHEMA_VERSION:
            raise StoreError(
                f"{path}: schema {schema}, this version reads up to {SCHEMA_VERSION}. "
                "Use the relusweep that wrote it, or another --out."
            )
        _refuse_strange(path)
        return Store(path)

    @staticmethod
    def create(path: str | Path) -> "Store":
        """Open a store to write into, or make one of a new or empty directory, readable by its owner only.

        Raises:
            StoreError: if the directory holds something else, or cannot be written.
        """
        path = Path(path)
        Store.at(path)
        with store_errors(path):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            # one of an earlier schema becomes one of this: a version that knows only that one refuses it from then on
            if _has_lost_its_mark(path) or not (path / "store.json").exists() or _schema(path) < SCHEMA_VERSION:
                write_json(path / "store.json", {"relusweep_schema_version": SCHEMA_VERSION})
            for folder in FOLDERS:
                (path / folder).mkdir(exist_ok=True, mode=0o700)
        return Store.open(path)

    @staticmethod
    def at(path: Path) -> "Store | None":
        """Open the store at `path`; None if nothing is there, or only what a killed `create` left.

        One whose store.json is gone or damaged is still one; `create` writes it anew.

        Raises:
            StoreError: if something else is there.
        """
        _refuse_no_text(path)
        with store_errors(path):
            if not path.exists():
                return None
            names = {child.name for child in path.iterdir()}
        if _has_lost_its_mark(path):
            return Store(path)
        if "store.json" in names:
            return Store.open(path)
        if any(not name.startswith(".store.json.") for name in names):
            raise StoreError(
                f"{path}: a directory with other files in it, no relusweep store; "
                "expected a new or empty one. Choose another --out."
            )
        return None

    # Tables ----------------------------------------------------------------------------------------------------------

    def write(
        self,
        pack_id: str,
        tables: Mapping[str, pa.Table | list[Any]],
        footer: Mapping[str, str],
        drafts: Path | None = None,
    ) -> None:
        """Record a pack: one part a table, `runs` last, since a run is done when its id is there.

        Args:
            pack_id: Names the parts, so that writing a pack twice replaces it by itself.
            tables: Each table, whole or as a list of rows. A missing parameter, as of runs that ended before a
                checkpoint of an earlier version, has its default; any other missing column is null.
            footer: Provenance beyond `record.provenance`.
            drafts: The folder of the lease that is held on the pack.

        Raises:
            StoreError: if the disk is full or the directory cannot be written, or the lease has been lost.
        """
        metadata = {f"relusweep.{key}": value for key, value in (provenance() | dict(footer)).items()}
        for table in reversed(TABLES):
            rows = tables.get(table, [])
            whole = as_table(table, rows) if isinstance(rows, list) else rows
            if len(whole):
                part = self.path / table / f"pack-{pack_id}.parquet"
                rows = completed(whole, with_extra(table, whole.schema))
                write_part(part, rows.replace_schema_metadata(metadata | extra_in(table, rows.schema)), drafts)

    def has_pack(self, pack_id: str) -> bool:
        """Return whether this very pack has been recorded, and not yet compacted."""
        return (self.path / "runs" / f"pack-{pack_id}.parquet").exists()

    def parts(self, table: str = "runs") -> list[Path]:
        """Return the parts of a table; temporary names begin with a dot and are not listed."""
        return sorted(self.inodes(table))

    def inodes(self, table: str = "runs") -> dict[Path, int]:
        """Return which file each part is: the same path with another inode is another part."""
        folder = self.path / table
        if not folder.is_dir():
            return {}  # `create` was killed
        with store_errors(folder), os.scandir(folder) as files:
            return {
                folder / file.name: file.inode()
                for file in files
                if file.name.endswith(".parquet") and not file.name.startswith(".")
            }

    def each(
        self,
        table: str,
        take: Callable[[Iterator[pa.Table]], T],
        columns: list[str] | None = None,
        *,
        extra: bool = False,
    ) -> tuple[list[T], dict[Path, str]]:
        """Take something from every part of a table, so that they need not be in memory together.

        Args:
            table: `runs`, `trajectories` or `weights`.
            take: Receives the rows of one part, piece by piece, and has to go through them all.
            columns: Those wanted; the table's key columns come along.
            extra: Whether those that are a part's own come along too.

        Returns:
            What was taken, and the parts that could not be read with the reason.
        """
        wanted = columns_of(table, columns)
        taken: list[T] = []

        def listed() -> list[Path]:
            taken.clear()  # what has been merged since would be taken twice
            return self.parts(table)

        broken = take_each(listed, lambda part: taken.append(take(pieces(part, wanted, extra=extra))))
        return taken, broken

    def read(self, table: str = "runs", columns: list[str] | None = None) -> tuple[pa.Table, dict[Path, str]]:
        """Read a table from all its readable parts, no row twice.

        Args:
            table: `runs`, `trajectories` or `weights`.
            columns: Those wanted; the table's key columns come along.

        Returns:
            The rows, and the parts that could not be read with the reason.
        """
        wanted = columns_of(table, columns)
        found, broken = self.each(table, lambda rows: stack(rows, wanted), columns)
        return distinct(stack(found, wanted), KEYS[table]), broken

    def broken(self, table: str) -> dict[Path, str]:
        """Read every byte of a table's parts, one after the other; return those that are broken, and why."""
        return take_each(lambda: self.parts(table), check)

    def run_ids(self, table: str) -> RunIds:
        """Return the ids of the runs in a table. Broken parts count as not there."""

        def take(rows: Iterator[pa.Table]) -> Keys:
            return RunIds.of(*(keys_of(piece["run_id"]) for piece in rows)).keys

        return RunIds.of(*self.each(table, take, [])[0])

    def ledger(self) -> Ledger:
        """Read what `runs` says of every run; broken parts count as not there."""
        found: list[Outcomes] = []

        def listed() -> list[Path]:
            found.clear()
            return self.parts()

        take_each(listed, lambda part: found.append(outcomes(part)))
        return Ledger.of(found)

    def recorded(self) -> RunIds:
        """Return the ids of all recorded runs; broken parts count as not recorded."""
        return self.ledger().recorded

    def lost(self, table: str, ledger: Ledger) -> RunIds:
        """Return the runs that have rows in `trajectories` or `weights`, as `runs` says, of which none are there."""
        return ledger.promised(table) - self.run_ids(table)

    def recorded_since(self, moment: float, known: set[Path]) -> RunIds:
        """Return the ids in parts recorded since a moment, not in `known`; add them to `known`.

        The moment is one of `clock.now`, CLOCK_SECONDS early for file systems whose servers have each a clock.
        """
        found: list[Keys] = []

        def take(part: Path) -> None:
            stat = part.stat()
            if max(stat.st_mtime, stat.st_ctime) > moment - CLOCK_SECONDS:  # written, moved there
                found.append(keys(outcomes(part)))
            known.add(part)

        take_each(lambda: set(self.parts()) - known, take)
        return RunIds.of(*found)


def _refuse_no_text(path: Path) -> None:
    """Refuse names that pyarrow cannot open: it would seem that every part is broken."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise StoreError(
            f"{path}: a name that is not UTF-8, which libraries of Parquet cannot open; expected one that is. "
            "Go there and name it from there, or choose another --out."
        ) from None


def _refuse_strange(path: Path) -> None:
    """Refuse a store by which files elsewhere would be changed, or a command would wait for ever."""
    with store_errors(path):
        for folder in (*FOLDERS, "aside", "jobs", "states"):
            if (path / folder).is_symlink():
                raise StoreError(
                    f"{path / folder}: a link; expected a folder, since what a store no longer needs is deleted. "
                    "Put what it leads to in its place."
                )
        spec = path / "spec.toml"
        if spec.exists() and not spec.is_file():
            raise StoreError(f"{spec}: no file; expected the spec that was last run here. Delete it, and run it again.")


def _schema(path: Path) -> int:
    schema = _mark(path)
    if schema is None:
        again = " Run its spec again with this --out, which writes it anew." if _has_lost_its_mark(path) else ""
        raise StoreError(
            f"{path}: not a relusweep store (no readable store.json); expected the --out of `relusweep run`.{again}"
        )
    return schema


def _mark(path: Path) -> int | None:
    """Return the schema version that store.json names; None if there is none, or it names none.

    Raises:
        StoreError: if it cannot be read.
    """
    try:
        schema = json.loads(_mark_text(path / "store.json"))["relusweep_schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return schema if type(schema) is int else None


def _mark_text(path: Path) -> bytes:
    with store_errors(path):
        try:
            return content_of(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return b""


def _has_lost_its_mark(path: Path) -> bool:
    return _mark(path) is None and all((path / folder).is_dir() for folder in FOLDERS)
