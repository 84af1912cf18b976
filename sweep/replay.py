"""Replay: one recorded run, trained again alone; and its export with data and weights."""

import json
import math
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pydantic import ValidationError

from relusweep.sweep import contents, own_code, trust
from relusweep.sweep.data import dataset
from relusweep.sweep.device import devices
from relusweep.sweep.execute import Tables, execute
from relusweep.sweep.kernels.jit.compiled import announced_once
from relusweep.sweep.pack import Pack
from relusweep.sweep.record import CIRCUMSTANCES, KEYS, WEIGHTS
from relusweep.sweep.run import NAMES_OF_CODE, PARAMETERS, Run
from relusweep.sweep.shape import array_shapes
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.atomic import StoreError, replacing, store_errors
from relusweep.sweep.store.store import Store


def find(store: Store, run_id: str) -> dict[str, Any]:
    """Find the recorded row of a run, by its id or the beginning of it.

    Raises:
        StoreError: if no run, or more than one, begins so.
    """
    rows = _rows(store, "runs", run_id)
    if len(rows) != 1:
        what = "no recorded run" if not len(rows) else f"{len(rows)} recorded runs"
        raise StoreError(
            f"{store.path}: {what} with an id that begins with {run_id!r}; expected exactly one. "
            "The ids are the column run_id of runs/*.parquet."
        )
    return rows[0]


def _rows(store: Store, table: str, run_id: str) -> list[dict[str, Any]]:
    """Return rows of runs whose ids begin so, each once, with what `[measure] extra` asked for."""

    def chosen(rows: Iterator[pa.Table]) -> list[dict[str, Any]]:
        return [row for piece in rows for row in _beginning(piece, run_id).to_pylist()]

    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in chain.from_iterable(store.each(table, chosen, extra=True)[0]):
        found.setdefault(tuple(row[key] for key in KEYS[table]), row)
    return [*found.values()]


def _beginning(rows: pa.Table, run_id: str) -> pa.Table:
    chosen = [index for index, name in enumerate(rows["run_id"].to_pylist()) if name and name.startswith(run_id)]
    return rows.take(pa.array(chosen, pa.int64()))


def recorded_run(row: dict[str, Any]) -> Run:
    """Return the run of a recorded row.

    Raises:
        StoreError: if the row's parameters are not those of its id.
    """
    try:
        run = Run.model_validate({key: row[key] for key in PARAMETERS})
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(map(str, first["loc"])) or str(first.get("ctx", {}).get("error", first["msg"]))
        raise StoreError(
            f"run {row['run_id']}: its recorded parameters are not those of a run ({what}); expected what "
            "`relusweep run` writes. Set its part aside, and the next run trains it again."
        ) from None
    if run.id != row["run_id"]:
        raise StoreError(f"run {row['run_id']}: its parameters give the id {run.id}; expected the same. Broken row?")
    return run


def train_alone(store: Store, row: dict[str, Any], measure: Measure, say: Callable[[str], None]) -> Tables:
    """Train the run of a recorded row in a pack of its own, on this machine.

    Args:
        store: Where it is recorded, and its data kept.
        row: A row of the table `runs`.
        measure: What to record besides the end.
        say: Receives a line for the user if that takes a while.

    Raises:
        StoreError: if the row's parameters are not those of its id.
        TrustError: if it is on code of the store that was not run before.
    """
    run = recorded_run(row)
    _look_in(store, run, measure)
    torch.set_num_threads(1)
    with announced_once(say):
        return execute(Pack((run,)), measure, devices()[0], "replay")


def take_code(store: Store, run_id: str, measure: Measure) -> None:
    """Let this process, and later ones, run the code that a recorded run is on or measured by: its user has read it.

    Raises:
        StoreError: if no run, or more than one, begins so.
    """
    trust.take([*own_code.contents_in(find(store, run_id)), *map(own_code.content_in, measure.sources.values())])


def _look_in(store: Store, run: Run, measure: Measure) -> None:
    """Find what the store keeps, and refuse to go on if code of it would run that was not run before."""
    contents.look_in(store.path)
    of_run = {getattr(run, key): getattr(run, f"{key}_source") for key in NAMES_OF_CODE}
    for name, source in (of_run | dict(measure.sources)).items():
        if source:
            content = own_code.content_in(source)
            trust.refuse(content, f"{store.path / 'files' / content}.py ({name})")


def difference(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, Any, Any, float | None]]:
    """Yield (measure, recorded, replayed, relative difference) for all that the run itself determines."""
    for name in old:
        if name in PARAMETERS or name in CIRCUMSTANCES or name == "run_id":
            continue
        if name not in new:  # an extra measure that the spec asks for no more
            continue
        before, after = old[name], new[name]
        yield name, before, after, _gap(before, after)


def _gap(before: Any, after: Any) -> float | None:
    """Return how far a number is from another, of lists the farthest from the largest; None of what are no numbers."""
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        before, after = (np.array(each, float) for each in (before, after))
        away, size = np.abs(after - before).max(initial=0.0), np.abs(before).max(initial=0.0)
        return None if np.isnan(away) else _gap(float(size), float(size + away))
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return None
    return abs(after - before) / abs(before) if before else 0.0 if after == before else math.inf


def write_npz(store: Store, run_id: str, file: Path, say: Callable[[str], None]) -> bool:
    """Write x, y, x_test, y_test, the weights and the record (JSON text) of a run.

    Returns:
        Whether the run had to be trained again because its weights were not saved. The record is the stored one.

    Raises:
        StoreError: if the name does not end in .npz, no run or several begin so, it diverged, or the file cannot be
            written.
        TrustError: if it is on code of the store that was not run before.
    """
    if file.suffix != ".npz":
        raise StoreError(f"{file}: expected a name that ends in .npz")
    row = find(store, run_id)
    run = recorded_run(row)
    _look_in(store, run, Measure())
    if row["status"] == "diverged":
        raise StoreError(
            f"run {row['run_id']}: it diverged after {row['steps']} steps; there are no weights to export. "
            "Expected one whose status is converged or budget."
        )
    saved = _rows(store, "weights", row["run_id"])
    weights = saved[0] if saved else train_alone(store, row, Measure(save_weights=True), say)["weights"].to_pylist()[0]
    data = dataset(run.model_dump())
    arrays: dict[str, Any] = {"x": data.x, "y": data.y, "x_test": data.x_test, "y_test": data.y_test}
    shapes = array_shapes(run)
    given = {name: np.array(weights[name], float) for name in WEIGHTS if weights.get(name) is not None}
    if any(each.size != math.prod(shapes.get(name, (0, 0))) or not each.size for name, each in given.items()):
        raise StoreError(
            f"run {row['run_id']}: its weights are not those of its network; expected what `relusweep run` writes. "
            "Set their part aside, and the next run trains it again."
        )
    arrays |= {name: each.reshape(shapes[name]) for name, each in given.items()}
    infinite = {key: str(v) for key, v in row.items() if isinstance(v, float) and not math.isfinite(v)}  # JSON has none
    record = json.dumps(row | infinite, allow_nan=False)
    with store_errors(file), replacing(file) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, record=np.array(record), **arrays)
    return not saved
