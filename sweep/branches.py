"""Branches: the weights at which the runs of a spec with `[from]` begin, out of the store that it names."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relusweep.sweep import branch, contents
from relusweep.sweep.dataset import DataError
from relusweep.sweep.run import Run
from relusweep.sweep.shape import array_shapes
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.store import Store
from relusweep.sweep.weights_file import NAMES, WEIGHTS, Weights

_MOST = 100_000  # of which a store keeps a file each


def find_branches(spec: Spec) -> None:
    """Find the weights at which all runs of a spec begin, and let this process know them; nothing without `[from]`.

    Raises:
        StoreError: if there is no store.
        DataError: for the first run whose weights are not there.
    """
    if spec.origin is None:
        return
    if spec.refine and spec.refine.parameter not in spec.origin.parameters:
        raise DataError(
            f"{spec.place}: from: runs that [refine] adds begin where none of the store does; expected "
            f"{spec.refine.parameter}, which they differ in, in [from]."
        )
    wanted: dict[str, Run] = {}
    for run in spec.expand():
        wanted.setdefault(branch.key(run), run)
        if len(wanted) > _MOST:
            raise DataError(f"{spec.place}: from: begins at more than {_MOST:,} weights; expected at most that many.")
    spec.branches.update({key: content for key in wanted if (content := contents.branch(key))})
    missing = {key: run for key, run in wanted.items() if key not in spec.branches}
    if not missing:
        return
    store = Store.open(spec.sources.folder / spec.origin.store)
    found = _at_step(store, spec.origin.step, missing)
    for key, run in missing.items():
        if key not in found:
            raise DataError(
                f"{store.path}: no weights at step {spec.origin.step:,} of a run as {_shown(run)}; expected them for "
                f'each run of {spec.place}. Record them there by save_weights = "moments", at a step of its `every`.'
            )
        spec.branches[key] = WEIGHTS.remember(found[key])
    contents.remember_branches(spec.branches)


def _at_step(store: Store, step: int, wanted: dict[str, Run]) -> dict[str, Weights]:
    """Return the weights that runs had at a step, by the keys of branches; what is not there is left out."""

    def max_steps(pieces: Iterator[pa.Table]) -> set[int]:
        return {each for piece in pieces for each in pc.unique(piece["max_steps"]).to_pylist()}

    lengths = sorted(each for each in set().union(*store.each("runs", max_steps, ["max_steps"])[0]) if each >= step)
    keys = {run_id: key for key, run in wanted.items() for run_id in branch.source_ids(run, lengths)}
    ids = pa.array(list(keys), pa.string())

    def moments(pieces: Iterator[pa.Table]) -> list[dict[str, Any]]:
        return [row for piece in pieces if "w1" in piece.column_names for row in there(piece, "step").to_pylist()]

    def ended(pieces: Iterator[pa.Table]) -> list[str]:
        return [run_id for piece in pieces for run_id in there(piece, "steps")["run_id"].to_pylist()]

    def ends(pieces: Iterator[pa.Table]) -> list[dict[str, Any]]:
        return [row for piece in pieces for row in piece.filter(pc.is_in(piece["run_id"], last)).to_pylist()]

    def there(piece: pa.Table, column: str) -> pa.Table:
        return piece.filter(pc.and_(pc.equal(piece[column], step), pc.is_in(piece["run_id"], ids)))

    rows = [row for part in store.each("trajectories", moments, extra=True)[0] for row in part]
    last = pa.array([run_id for part in store.each("runs", ended, ["steps"])[0] for run_id in part], pa.string())
    rows += [row for part in store.each("weights", ends)[0] for row in part] if len(last) else []
    return {keys[row["run_id"]]: _weights(row, wanted[keys[row["run_id"]]]) for row in rows if row["w1"] is not None}


def _weights(row: dict[str, Any], run: Run) -> Weights:
    shapes, given = array_shapes(run), [name for name in NAMES if row.get(name) is not None]
    return Weights({name: np.array(row[name], float).reshape(shapes[name]) for name in given})


def _shown(run: Run) -> str:
    """Return the parameters that say which training a branch comes from, those without a default."""
    source = run.source(run.from_step or 1)
    given = {key: value for key, value in source.model_dump(exclude_defaults=True).items() if key != "max_steps"}
    return ", ".join(f"{key} = {value!r}" for key, value in given.items())[:300]
