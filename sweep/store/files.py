"""Files: the small ones of a store beside its tables: states of packs, crashes, where workers stand, the spec."""

import json
import os
import tomllib
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NotRequired, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # which pydantic asks for before Python 3.12

from relusweep.sweep.store.atomic import refusal, replacing, store_errors, write_json
from relusweep.sweep.store.small_file import content_of

_Count = Annotated[int, Field(ge=0, lt=2**63)]
_SOUND = ConfigDict(allow_inf_nan=False, extra="ignore")
T = TypeVar("T")


@with_config(_SOUND)
class Failure(TypedDict):
    """What is written of a pack whose worker crashed: the error is one line, the trace the rest; `time` in seconds."""

    pack_id: str
    run_ids: list[str]
    error: str
    trace: str
    attempts: int
    host: str
    time: float


@with_config(_SOUND)
class Standing(TypedDict):
    """What a worker writes of the pack in training; times in seconds, `time` of the epoch."""

    worker: str
    pack_id: str
    runs: _Count
    max_steps: _Count
    step: _Count
    run_steps: _Count
    seconds: float
    ended: dict[str, _Count]
    time: float
    compiling: NotRequired[bool]


_failure, _standing = TypeAdapter(Failure).validate_json, TypeAdapter(Standing).validate_json


@dataclass(frozen=True)
class StoreFiles:
    """What a store knows besides its tables; what is written may raise `StoreError`."""

    path: Path

    def refuse(self, error: Exception) -> None:
        """Raise a `StoreError` in place of an error of the file system about something in here; else do nothing."""
        about = error.filename if isinstance(error, OSError) else None
        if isinstance(about, str | Path) and Path(about).is_relative_to(self.path):
            raise refusal(Path(about), error) from None

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
            value = tomllib.loads(content_of(self.spec_path).decode("utf-8-sig"))[key]
        except (OSError, ValueError, KeyError, RecursionError):
            return None
        return value if isinstance(value, str) else None

    # Packs -----------------------------------------------------------------------------------------------------------

    def checkpoint(self, pack_id: str) -> Path:
        """Return where a pack in training keeps its state."""
        return self.path / "checkpoints" / f"{pack_id}.pt"

    def checkpoints(self) -> list[Path]:
        """Return the states of packs that were interrupted, or are in training now."""
        return listed(self.path / "checkpoints", ".pt")

    def delete_checkpoint(self, pack_id: str) -> None:
        """Delete the state of a pack, because the pack has been recorded, or because the state is of no use."""
        with store_errors(self.path):
            self.checkpoint(pack_id).unlink(missing_ok=True)

    def write_failure(self, pack_id: str, failure: Failure) -> None:
        """List a pack whose worker crashed; its runs stay missing and are trained by the next `run`."""
        with store_errors(self.path):
            write_json(self.path / "failures" / f"{pack_id}.json", failure)

    def clear_failure(self, pack_id: str) -> None:
        """Delete a failure, because the pack has been recorded or is being tried again."""
        with store_errors(self.path):
            (self.path / "failures" / f"{pack_id}.json").unlink(missing_ok=True)

    def failures(self, missing: Container[str] | None = None) -> list[Failure]:
        """Return packs that crashed, with run ids, host, error and trace; only those with a `missing` run, if given.

        Runs may have been recorded since in other packs.
        """
        found = _read_jsons(self.path / "failures", _failure)
        return [each for each in found if missing is None or any(run_id in missing for run_id in each["run_ids"])]

    def damaged_failures(self) -> list[Path]:
        """Return the files of failures whose content is none; each is named after its pack.

        One that cannot be read just now is not among them: nothing is known of its content.
        """
        return [path for path in listed(self.path / "failures", ".json") if _is_damaged(path, _failure)]

    # Workers ---------------------------------------------------------------------------------------------------------

    def write_progress(self, worker: str, progress: Standing) -> None:
        """Write down where a worker stands; for `watch`, and not worth an fsync."""
        path = self.path / "progress" / f"{worker}.json"
        temporary = path.with_name(f".{path.name}.tmp")
        with store_errors(self.path):
            temporary.write_text(json.dumps(progress), encoding="utf-8")
            os.replace(temporary, path)

    def clear_progress(self, worker: str) -> None:
        """Delete where a worker stood, because its pack has ended, one way or another."""
        with store_errors(self.path):
            (self.path / "progress" / f"{worker}.json").unlink(missing_ok=True)

    def progress_files(self) -> list[Path]:
        """Return the files of workers, also of those that were killed; each is named after its worker."""
        return listed(self.path / "progress", ".json")

    def progress(self) -> list[Standing]:
        """Return what the workers wrote last."""
        return _read_jsons(self.path / "progress", _standing)


def _is_damaged(path: Path, read: Callable[[bytes], object]) -> bool:
    try:
        read(content_of(path))
    except ValidationError:
        return True
    except OSError:
        return False
    return False


def _read_jsons(folder: Path, read: Callable[[bytes], T]) -> list[T]:
    found = []
    for path in listed(folder, ".json"):
        try:
            found.append(read(content_of(path)))
        except (OSError, ValidationError):
            continue  # being replaced just now, or left half-written by a full disk
    return found


def listed(folder: Path, ending: str) -> list[Path]:
    """Return the files of a folder that end so, sorted; temporary names begin with a dot, and are left out.

    Raises:
        StoreError: if the folder cannot be read; one that is not there has none.
    """
    with store_errors(folder):
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return []
    return [folder / name for name in sorted(names) if name.endswith(ending) and not name.startswith(".")]
