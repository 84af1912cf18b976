"""Files: the small ones of a store beside its tables: states of packs, crashes, where workers stand, the spec."""

import json
import os
import tomllib
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

from relusweep.sweep.store.atomic import replacing, store_errors, write_json


class Failure(TypedDict):
    """What is written of a pack whose worker crashed: the error is one line, the trace the rest; `time` in seconds."""

    pack_id: str
    run_ids: list[str]
    error: str
    trace: str
    attempts: int
    host: str
    time: float


@dataclass(frozen=True)
class StoreFiles:
    """What a store knows besides its tables; what is written may raise `StoreError`."""

    path: Path

    # The spec --------------------------------------------------------------------------------------------------------

    @property
    def spec_path(self) -> Path:
        """The spec of the sweep that was last run here."""
        return self.path / "spec.toml"

    def write_spec(self, text: str) -> None:
        """Make `text` the spec of this store; `verify`, `status` and `report` read it."""
        with store_errors(self.path), replacing(self.spec_path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def sweep_name(self) -> str | None:
        """Return the name of the sweep that was last run here, if its spec can still be read."""
        return self._in_spec("name")

    def study(self) -> str | None:
        """Return the study that the spec names, if it names one and can still be read."""
        return self._in_spec("study")

    def _in_spec(self, key: str) -> str | None:
        try:
            value = tomllib.loads(self.spec_path.read_text(encoding="utf-8"))[key]
        except (OSError, ValueError, KeyError):
            return None
        return value if isinstance(value, str) else None

    # Packs -----------------------------------------------------------------------------------------------------------

    def checkpoint(self, pack_id: str) -> Path:
        """Return where a pack in training keeps its state."""
        return self.path / "checkpoints" / f"{pack_id}.pt"

    def checkpoints(self) -> list[Path]:
        """Return the states of packs that were interrupted, or are in training now."""
        return sorted((self.path / "checkpoints").glob("[!.]*.pt"))

    def write_failure(self, pack_id: str, failure: Failure) -> None:
        """List a pack whose worker crashed; its runs stay missing and are trained by the next `run`."""
        with store_errors(self.path):
            write_json(self.path / "failures" / f"{pack_id}.json", failure)

    def clear_failure(self, pack_id: str) -> None:
        """Delete a failure, because the pack has been recorded or is being tried again."""
        (self.path / "failures" / f"{pack_id}.json").unlink(missing_ok=True)

    def failures(self, missing: Container[str] | None = None) -> list[Failure]:
        """Return packs that crashed, with run ids, host, error and trace; only those with a `missing` run, if given.

        Runs may have been recorded since in other packs.
        """
        found = cast("list[Failure]", _read_jsons(self.path / "failures"))
        return [each for each in found if missing is None or any(run_id in missing for run_id in each["run_ids"])]

    # Workers ---------------------------------------------------------------------------------------------------------

    def write_progress(self, worker: str, progress: Mapping[str, Any]) -> None:
        """Write down where a worker stands; for `watch`, and not worth an fsync."""
        path = self.path / "progress" / f"{worker}.json"
        temporary = path.with_name(f".{path.name}.tmp")
        with store_errors(self.path):
            temporary.write_text(json.dumps(dict(progress)), encoding="utf-8")
            os.replace(temporary, path)

    def clear_progress(self, worker: str) -> None:
        """Delete where a worker stood, because its pack has ended, one way or another."""
        (self.path / "progress" / f"{worker}.json").unlink(missing_ok=True)

    def progress(self) -> list[dict[str, Any]]:
        """Return what the workers wrote last."""
        return _read_jsons(self.path / "progress")


def _read_jsons(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue  # being replaced just now, or left half-written by a full disk
    return found
