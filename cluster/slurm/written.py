"""Written: what the small files of a submission hold, and what of it can be believed when it is read."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # which pydantic asks for before Python 3.12

from relusweep.sweep.spec import Measure
from relusweep.sweep.store.small_file import content_of

_MOST_BYTES = 2**28  # of submission.json: of as many packs as there may be runs
_Count = Annotated[int, Field(ge=0, lt=2**31)]
_FREE = ConfigDict(allow_inf_nan=False, extra="allow")


@with_config(_FREE)
class _Job(TypedDict):
    measure: Measure
    backend: str
    checkpoint_seconds: float
    since: float


_Submission = TypedDict(  # noqa: UP013 - what is on the disk has a name that is said nowhere else
    "_Submission",
    {
        "job": _Job,
        "packs": list[tuple[str, _Count, float]],
        "elements": list[tuple[list[_Count], _Count, float]],
        "arrays": list[tuple[_Count, _Count]],
        "machine": dict[str, Any],
        "time": float,
    },
)


@with_config(_FREE)
class _Note(TypedDict, total=False):
    jobs: list[Annotated[str, Field(pattern="^[0-9]{1,18}$")]]  # of jobs.json
    why: str  # of ended.json
    outcomes: dict[str, Annotated[list[str], Field(min_length=2, max_length=2)]]  # of the end of a task
    error: str
    kind: str
    time: float
    taken: list[_Count]  # of what a task keeps over its restarts
    begun: list[str]
    standing: list[float] | None
    starts: _Count
    idle_starts: _Count
    unready_starts: _Count


_submission, _note = TypeAdapter(_Submission), TypeAdapter(_Note)


def submission_in(path: Path) -> dict[str, Any]:
    """Return what a submission.json holds.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is none; the message says in one line what is wrong.
    """
    try:
        found = _submission.dump_python(_submission.validate_json(content_of(path, _MOST_BYTES)))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'JSON'}: {first['msg']}") from None
    if any(number >= len(found["packs"]) for numbers, *_ in found["elements"] for number in numbers):
        raise ValueError("a task with packs that are not there")
    if any(not first <= end <= len(found["elements"]) for first, end in found["arrays"]):
        raise ValueError("an array of tasks that are not there")
    return found


def note_in(path: Path) -> dict[str, Any]:
    """Return what another file of a submission holds; nothing if it cannot be read, or holds something else."""
    try:
        return dict(_note.validate_json(content_of(path)))
    except (OSError, ValueError):
        return {}
