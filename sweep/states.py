"""States: where runs stood when their steps were used up, so that with more of them they go on from there.

A store has a file a pack, in `states/`, named after the steps. They are no results: runs whose state is lost or damaged
are trained from the start, and end the same.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ConfigDict, TypeAdapter, with_config
from torch import Tensor
from typing_extensions import TypedDict

from relusweep.sweep.checkpoint import load_checkpoint, write_checkpoint
from relusweep.sweep.pack import Pack
from relusweep.sweep.record import DEFAULTS
from relusweep.sweep.run import Run, run_id
from relusweep.sweep.store.atomic import store_errors
from relusweep.sweep.store.files import listed
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store

FOLDER = "states"
Moment = tuple[int, Tensor, Tensor]  # as `Results` has them


class States(NamedTuple):
    """The runs of a pack that were left, row by row.

    runs: Their parameters. step: The steps that all of them have taken. state: As `Training.state`, without
    `position`. moments: What has been recorded of them on the way; positions are rows. seconds: Of each run.
    """

    runs: list[dict[str, Any]]
    step: int
    state: dict[str, Tensor]
    moments: list[Moment]
    seconds: float

    @property
    def ids(self) -> RunIds:
        """What the runs are called."""
        return RunIds(map(run_id, self.runs))


def short(run: Run) -> dict[str, Any]:
    """Return a run's parameters without those that have their default: the rest is known."""
    return run.model_dump(exclude_defaults=True)


def path_of(store: Store, pack: Pack) -> Path:
    """Return where the states of a pack are."""
    return store.path / FOLDER / f"{pack.shape.max_steps:010}-{pack.id}.pt"


def write(path: Path, runs: Sequence[Run], states: States) -> None:
    """Write the states of some runs.

    Raises:
        StoreError: if the file system refuses.
    """
    with store_errors(path):
        path.parent.mkdir(exist_ok=True, mode=0o700)
    training = {"step": states.step, "cursor": 0, "ids": [run.id for run in runs], "state": states.state}
    given = {"runs": states.runs, "moments": states.moments, "seconds": states.seconds}
    write_checkpoint(path, given | {"training": training})


def kept(store: Store, below: int | None = None) -> Iterator[tuple[Path, States]]:
    """Yield what can be read of those that took fewer steps, file by file; first those that got furthest."""
    for path in reversed(listed(store.path / FOLDER, ".pt")):
        steps = path.name.partition("-")[0]
        too_many = below is not None and steps.isdecimal() and int(steps) >= below
        if not too_many and (found := _read(path)) is not None:
            yield path, found


@with_config(ConfigDict(extra="allow", strict=True, arbitrary_types_allowed=True))
class _Saved(TypedDict):
    runs: list[dict[str, Any]]
    moments: list[tuple[int, Tensor, Tensor]]
    seconds: float


_checked = TypeAdapter(_Saved).validate_python


def _read(path: Path) -> States | None:
    saved = load_checkpoint(path)
    try:
        given, training = _checked(saved), saved["training"] if saved else {}
        runs = [DEFAULTS | values for values in given["runs"]]
        found = States(runs, training["step"], training["state"], given["moments"], given["seconds"])
        rows = {len(found.ids), *map(len, found.state.values())}
        steps = {values["max_steps"] for values in found.runs}
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return None
    is_one = rows == {len(found.runs)} and steps == {found.step}
    return found if is_one and all(map(torch.is_tensor, found.state.values())) else None
