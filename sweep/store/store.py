"""Store: a sweep's directory. Parquet parts written whole or not at all; a run is done when its id is in one.

    store.json   what makes the directory a store        checkpoints/  packs in training
    spec.toml    the sweep that was last run here         claims/       who trains which runs now
    runs/ trajectories/ weights/   the three tables       progress/     one small file a worker
    aside/       parts that could not be read             failures/     one file a pack that crashed
    jobs/        what was handed to a cluster             report/       what `relusweep report` wrote
No database, no lock: every writer writes its own file under a temporary name and renames it. Loads no torch.
"""

import hashlib
import json
import os
import secrets
import time
import tomllib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from relusweep.sweep.record import KEYS, SCHEMA_VERSION, SCHEMAS, promised, provenance
from relusweep.sweep.store.atomic import StoreError, replacing, store_errors, write_json
from relusweep.sweep.store.part import UNREADABLE, columns_of, distinct, pieces, read_part, stack, write_part
from relusweep.sweep.store.run_ids import Keys, RunIds, keys_of

TABLES = tuple(SCHEMAS)
FOLDERS = (*TABLES, "checkpoints", "claims", "progress", "failures")
CLOCK_SECONDS = 600  # by which the clocks of two hosts on one store may differ
COMPACT_BYTES = 64 * 2**20  # one part of a compacted store holds about this much; making it took 0.8 GiB
_ASKED = ["status", "moments", "weights_saved"]  # columns of `runs` that conditions are about
T = TypeVar("T")


@dataclass(frozen=True)
class Store:
    """A sweep's directory."""

    path: Path

    @staticmethod
    def open(path: str | Path) -> "Store":
        """Open an existing store.

        Raises:
            StoreError: if the path is not a store, or one of a later schema version.
        """
        path = Path(path)
        if not path.is_dir():
            raise StoreError(f"{path}: no such directory; expected a store written by `relusweep run`.")
        if (schema := _schema(path)) > SCHEMA_VERSION:
            raise StoreError(
                f"{path}: schema {schema}, this version reads up to {SCHEMA_VERSION}. "
                "Use the relusweep that wrote it, or another --out."
            )
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
            # one of an earlier schema becomes one of this: who knows only that one would take our parts for broken
            if not (path / "store.json").exists() or _schema(path) < SCHEMA_VERSION:
                write_json(path / "store.json", {"relusweep_schema_version": SCHEMA_VERSION})
            for folder in FOLDERS:
                (path / folder).mkdir(exist_ok=True, mode=0o700)
        return Store.open(path)

    @staticmethod
    def at(path: Path) -> "Store | None":
        """Open the store at `path`; None if nothing is there, or only what a killed `create` left.

        Raises:
            StoreError: if something else is there.
        """
        with store_errors(path):
            if not path.exists():
                return None
            names = {child.name for child in path.iterdir()}
        if "store.json" in names:
            return Store.open(path)
        if any(not name.startswith(".store.json.") for name in names):
            raise StoreError(
                f"{path}: a directory with other files in it, no relusweep store; "
                "expected a new or empty one. Choose another --out."
            )
        return None

    def write_spec(self, text: str) -> None:
        """Make `text` the plan of this store; `verify`, `status` and `report` read it."""
        with store_errors(self.path), replacing(self.path / "spec.toml") as temporary:
            temporary.write_text(text, encoding="utf-8")

    @property
    def spec_path(self) -> Path:
        """The plan of this store."""
        return self.path / "spec.toml"

    def sweep_name(self) -> str | None:
        """Name of the sweep that was last run here, if its spec can still be read."""
        return self._said_by_spec("name")

    def study(self) -> str | None:
        """Study that the spec names, if it names one and can still be read."""
        return self._said_by_spec("study")

    def _said_by_spec(self, key: str) -> str | None:
        try:
            said = tomllib.loads(self.spec_path.read_text(encoding="utf-8"))[key]
        except (OSError, ValueError, KeyError):
            return None
        return said if isinstance(said, str) else None

    # Tables ----------------------------------------------------------------------------------------------------------

    def write(self, pack_id: str, tables: Mapping[str, pa.Table | list[Any]], footer: Mapping[str, str]) -> None:
        """Record a pack: one part a table, `runs` last, since a run is done when its id is there.

        Args:
            pack_id: Names the parts, so that writing a pack twice replaces it by itself.
            tables: Each table, whole or as a list of rows, where a missing column is null.
            footer: Provenance beyond `record.provenance`.

        Raises:
            StoreError: if the disk is full or the directory cannot be written.
        """
        metadata = {f"relusweep.{key}": value for key, value in (provenance() | dict(footer)).items()}
        for table in reversed(TABLES):
            rows = tables.get(table, [])
            whole = pa.Table.from_pylist(rows, schema=SCHEMAS[table]) if isinstance(rows, list) else rows
            if len(whole):
                part = self.path / table / f"pack-{pack_id}.parquet"
                write_part(part, whole.replace_schema_metadata(metadata))

    def has_pack(self, pack_id: str) -> bool:
        """Tell whether this very pack has been recorded, and not yet compacted."""
        return (self.path / "runs" / f"pack-{pack_id}.parquet").exists()

    def parts(self, table: str = "runs") -> list[Path]:
        """List the parts of a table; temporary names begin with a dot and are not listed."""
        return sorted(self.inodes(table))

    def inodes(self, table: str = "runs") -> dict[Path, int]:
        """Tell of each part which file it is: the same path with another inode is another part."""
        folder = self.path / table
        if not folder.is_dir():
            return {}  # `create` was killed
        with os.scandir(folder) as files:
            return {
                folder / file.name: file.inode()
                for file in files
                if file.name.endswith(".parquet") and not file.name.startswith(".")
            }

    def each(
        self, table: str, take: Callable[[Iterator[pa.Table]], T], columns: list[str] | None = None
    ) -> tuple[list[T], dict[Path, str]]:
        """Take something from every part of a table, so that they need not be in memory together.

        Args:
            table: `runs`, `trajectories` or `weights`.
            take: Is given the rows of one part, piece by piece, and has to go through them all.
            columns: Those wanted; the table's key columns come along.

        Returns:
            What was taken, and the parts that could not be read with the reason.
        """
        wanted = columns_of(table, columns)
        taken, broken = [], {}
        for _ in range(2):  # a part that vanished while we read was compacted: list again, once
            taken, broken = [], {}
            for part in self.parts(table):
                try:
                    taken.append(take(pieces(part, wanted)))
                except UNREADABLE as error:
                    broken[part] = str(error).splitlines()[0]
            there = {part: why for part, why in broken.items() if part.exists()}
            if len(there) == len(broken):
                break
            broken = there
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
        """Read every page of a table's parts, one after the other; returns those that cannot be read, and why."""
        return self.each(table, lambda rows: sum(map(len, rows)))[1]

    def run_ids(self, table: str, where: pc.Expression | None = None) -> RunIds:
        """Ids of the runs in a table; with `where`, of those rows only. Broken parts count as not there."""

        def take(rows: Iterator[pa.Table]) -> Keys:
            chosen = (piece if where is None else piece.filter(where) for piece in rows)
            return RunIds.of(*(keys_of(piece["run_id"]) for piece in chosen)).keys

        return RunIds.of(*self.each(table, take, [] if where is None else _ASKED)[0])

    def recorded(self) -> RunIds:
        """Ids of all recorded runs; broken parts count as not recorded."""
        return self.run_ids("runs")

    def lacking(self, moments: bool, weights: bool) -> dict[str, int]:
        """Count the recorded runs that lack moments or weights, where these are wanted."""
        has_none = pc.field("status") == "diverged"
        has_moments, has_weights = promised("trajectories"), promised("weights") | has_none
        counts = {
            "trajectories": len(self.recorded() - self.run_ids("runs", has_moments)) if moments else 0,
            "weights": len(self.recorded() - self.run_ids("runs", has_weights)) if weights else 0,
        }
        return {table: count for table, count in counts.items() if count}

    def recorded_since(self, moment: float, known: set[Path]) -> RunIds:
        """Ids in parts written since a moment (seconds of the epoch), those in `known` left out; adds to `known`.

        Clocks of hosts may differ by CLOCK_SECONDS.
        """
        found, vanished = [], True
        for _ in range(2):  # a part that vanished while we read was compacted: list again, once
            if not vanished:
                break
            vanished = False
            for part in set(self.parts()) - known:
                try:
                    if part.stat().st_mtime > moment - CLOCK_SECONDS:
                        found.append(keys_of(read_part(part, columns_of("runs", []))["run_id"]))
                except UNREADABLE:
                    vanished |= not part.exists()
                    continue
                known.add(part)
        return RunIds.of(*found)

    def forget(self, run_ids: RunIds) -> None:
        """Take runs out of the table `runs`, so that they count as missing; their parts are kept in `aside/` too."""
        for part in self.parts() if run_ids else []:
            rows = read_part(part, SCHEMAS["runs"])
            forgotten = run_ids.find(keys_of(rows["run_id"]))[1]
            if forgotten.any():
                metadata = pq.read_schema(part).metadata
                self.set_aside([part])
                if not forgotten.all():
                    write_part(part, rows.filter(pa.array(~forgotten)).replace_schema_metadata(metadata))

    def set_aside(self, parts: Iterable[Path]) -> list[Path]:
        """Move broken parts out of the tables, so that their runs count as missing; returns where they went."""
        moved = []
        with store_errors(self.path):
            (self.path / "aside").mkdir(exist_ok=True, mode=0o700)
            for part in parts:
                target = self.path / "aside" / f"{part.parent.name}-{secrets.token_hex(4)}-{part.name}"
                os.replace(part, target)
                moved.append(target)
        return moved

    def compact(self) -> dict[str, tuple[int, int]]:
        """Merge the parts of every table into few sorted ones; returns the number of parts before and after.

        A new part is published before its sources are deleted, and readers drop doubles, so that a kill at any moment
        loses nothing. Broken parts stay where they are.
        """
        counts = {}
        for table in TABLES:
            before = self.parts(table)
            after = 0
            for group in _by_size(before):
                after += self._merge(table, group)
            counts[table] = (len(before), after)
        return counts

    def _merge(self, table: str, parts: list[Path]) -> int:
        if len(parts) < 2:
            return len(parts)
        found, merged = [], []
        for part in parts:
            try:
                found.append(read_part(part, SCHEMAS[table]))
                merged.append(part)
            except UNREADABLE:
                continue
        if not merged:
            return len(parts)
        rows = distinct(pa.concat_tables(found), KEYS[table])
        rows = rows.sort_by([(key, "ascending") for key in KEYS[table]])
        digest = hashlib.blake2b("".join(rows["run_id"].to_pylist()).encode(), digest_size=8).hexdigest()
        metadata = {f"relusweep.{key}": value for key, value in provenance().items()}
        target = self.path / table / f"compact-{digest}.parquet"
        write_part(target, rows.replace_schema_metadata(metadata))
        for part in merged:
            if part != target:
                part.unlink(missing_ok=True)
        return 1 + len(parts) - len(merged)

    # Small files -----------------------------------------------------------------------------------------------------

    def checkpoint(self, pack_id: str) -> Path:
        """Where a pack in training keeps its state."""
        return self.path / "checkpoints" / f"{pack_id}.pt"

    def checkpoints(self) -> list[Path]:
        """States of packs that were interrupted, or are in training now."""
        return sorted((self.path / "checkpoints").glob("[!.]*.pt"))

    def write_failure(self, pack_id: str, failure: Mapping[str, Any]) -> None:
        """List a pack whose worker crashed; its runs stay missing and are trained by the next `run`."""
        with store_errors(self.path):
            write_json(self.path / "failures" / f"{pack_id}.json", failure)

    def clear_failure(self, pack_id: str) -> None:
        """Forget a failure, because the pack has been recorded or is being tried again."""
        (self.path / "failures" / f"{pack_id}.json").unlink(missing_ok=True)

    def failures(self, missing: Container[str] | None = None) -> list[dict[str, Any]]:
        """Packs that crashed, each with its run ids, host, error and trace; only those with a `missing` run, if given.

        Runs may have been recorded since in other packs.
        """
        found = _read_jsons(self.path / "failures")
        return [each for each in found if missing is None or any(run_id in missing for run_id in each["run_ids"])]

    def write_progress(self, worker: str, progress: Mapping[str, Any]) -> None:
        """Say where a worker stands; for `watch`, and not worth an fsync."""
        path = self.path / "progress" / f"{worker}.json"
        temporary = path.with_name(f".{path.name}.tmp")
        with store_errors(self.path):
            temporary.write_text(json.dumps(dict(progress)), encoding="utf-8")
            os.replace(temporary, path)

    def clear_progress(self, worker: str) -> None:
        """Forget where a worker stood, because its pack has ended, one way or another."""
        (self.path / "progress" / f"{worker}.json").unlink(missing_ok=True)

    def progress(self) -> list[dict[str, Any]]:
        """What the workers said last."""
        return _read_jsons(self.path / "progress")

    def remove_leftovers(self) -> None:
        """Delete what killed processes left: temporary files older than an hour, progress older than a day."""
        now = time.time()
        for pattern, age in (("*/.*.tmp", 3600), ("progress/*.json", 86400)):
            for path in self.path.glob(pattern):
                try:
                    if now - path.stat().st_mtime > age:
                        path.unlink()
                except OSError:
                    continue  # another launcher was faster


def _schema(path: Path) -> int:
    try:
        return int(json.loads((path / "store.json").read_text(encoding="utf-8"))["relusweep_schema_version"])
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(
            f"{path}: not a relusweep store (no readable store.json); expected the --out of `relusweep run`."
        ) from None


def _by_size(parts: list[Path]) -> Iterator[list[Path]]:
    group: list[Path] = []
    total = 0
    for part in parts:
        size = part.stat().st_size
        if group and total + size > COMPACT_BYTES:
            yield group
            group, total = [], 0
        group.append(part)
        total += size
    if group:
        yield group


def _read_jsons(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue  # being replaced just now, or left half-written by a full disk
    return found
