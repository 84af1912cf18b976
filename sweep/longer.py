"""Longer: runs whose max_steps was raised go on from where the shorter ones stood, as if they had never ended.

A kept state becomes the checkpoint of a pack, which a worker goes on with as with any that was interrupted: so the run
ends bit for bit as one that was trained at once. Runs whose step sizes depend on max_steps, and those of which the spec
asks for moments that were not recorded on the way, or for their weights, are trained from the start.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from relusweep.sweep import states
from relusweep.sweep.checkpoint import load_checkpoint, write_checkpoint
from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.pack import Pack, make_packs
from relusweep.sweep.results import Results
from relusweep.sweep.run import ENDLESS, Run, run_id
from relusweep.sweep.spec import Measure, Spec
from relusweep.sweep.states import States, short
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store
from relusweep.sweep.train import in_order


def lengths(spec: Spec) -> list[int]:
    """Return the max_steps of a spec's runs, without those on which a step size depends; from the least on."""
    found = [values for block in spec.blocks for values in block.settings(("max_steps", "schedule"))]
    usual = Run.model_fields["max_steps"].default
    return sorted({steps or usual for steps, schedule in found if schedule is None or schedule in ENDLESS})


def longer_id(values: Mapping[str, Any], max_steps: int) -> str | None:
    """Return what a run is called with another max_steps; None where that is not the same training for longer."""
    if values["schedule"] not in ENDLESS or values["max_steps"] >= max_steps:
        return None
    return run_id({**values, "max_steps": max_steps})


def packs(spec: Spec, store: Store, free: RunIds, size: Callable[[Run], int]) -> Iterator[Pack]:
    """Yield packs of those runs of a spec that go on from a kept state, each with a checkpoint that says so.

    Args:
        spec: What is to be trained.
        store: Where the states are, and the checkpoints are to be.
        free: Runs that are to be trained, and that no one trains.
        size: The most runs of this shape that a pack may hold.

    Raises:
        StoreError: if a checkpoint cannot be written.
    """
    taken: set[str] = set()
    for left, asked, rows in _found(spec, store, free):
        for pack in make_packs([run for run in rows if run.id not in taken], size):
            runs = in_order(pack.runs)
            try:
                content = _checkpoint(pack, spec.measure, left, [rows[run] for run in runs], asked)
            except (LookupError, RuntimeError, TypeError, ValueError):  # tensors that fit no runs
                continue
            if _stands_before(store.checkpoint(pack.id), spec.measure, left.step):
                write_checkpoint(store.checkpoint(pack.id), content)
            taken |= {run.id for run in runs}
            yield pack


def count(spec: Spec, store: Store, free: RunIds) -> int:
    """Return how many runs of a spec would go on from a kept state, of those that are to be trained."""
    found: set[str] = set()
    for _, _, rows in _found(spec, store, free):
        found |= {run.id for run in rows}
    return len(found)


def _found(spec: Spec, store: Store, free: RunIds) -> Iterator[tuple[States, set[int], dict[Run, int]]]:
    """Yield kept states, the moments that must have been recorded on the way, and which rows are whose beginning."""
    steps = lengths(spec) if free else []
    asked_of = {max_steps: spec.measure.moments(max_steps) for max_steps in steps}
    for _, left in states.kept(store, below=max(steps, default=0)):
        for max_steps in steps:
            asked = {step for step in asked_of[max_steps] if step <= left.step}
            if asked <= {step for step, *_ in left.moments} and not (asked and spec.measure.save_weights == "moments"):
                rows = {run: row for row, values in enumerate(left.runs) if (run := _longer(values, max_steps, free))}
                yield left, asked, rows


def _longer(values: Mapping[str, Any], max_steps: int, free: RunIds) -> Run | None:
    """Return a run with more steps, if it is among those that are to be trained."""
    try:
        if longer_id(values, max_steps) in free:
            return Run.model_validate({**values, "max_steps": max_steps})
    except (RelusweepError, LookupError, TypeError, ValueError):  # not what a worker writes; or its files are gone
        pass
    return None


def _stands_before(checkpoint: Path, measure: Measure, step: int) -> bool:
    """Return whether a pack's own checkpoint, as another launcher may have left it meanwhile, is of an earlier step."""
    saved = load_checkpoint(checkpoint)
    return saved is None or not measure.is_of(saved.get("measure")) or saved["training"]["step"] < step


def _checkpoint(pack: Pack, measure: Measure, left: States, rows: list[int], asked: set[int]) -> dict[str, Any]:
    """Return the checkpoint of a pack whose runs stand where these rows of a state do."""
    at, place = torch.tensor(rows), torch.full((len(left.runs),), -1)
    place[at] = torch.arange(len(rows))
    moments = [
        (step, place[where][place[where] >= 0], measures[:, place[where] >= 0])
        for step, where, measures in left.moments
        if step in asked
    ]
    state = {name: tensor[at] for name, tensor in left.state.items()} | {"position": torch.arange(len(rows))}
    return {
        "runs": list(map(short, pack.runs)),
        "measure": measure.saved(),
        "training": {"step": left.step, "cursor": 0, "ids": [run.id for run in in_order(pack.runs)], "state": state},
        "handled": left.step,
        "harvest": Results(moments=moments).saved(),
        "seconds": left.seconds * len(rows),
    }
