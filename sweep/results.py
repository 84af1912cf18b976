"""Results: what the runs of a pack have yielded so far, in columns until the pack is recorded.

A trajectory of a thousand moments of thousands of runs is gigabytes as Python's rows, and a tenth of that in columns.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from relusweep.sweep.model import Architecture
from relusweep.sweep.record import MOMENT_MEASURES, SCHEMAS, STATUSES
from relusweep.sweep.store.part import as_table

_LIST_NUMBERS = 2**28  # in one array of lists, whose offsets have 32 bits


@dataclass
class Results:
    """Rows of the table runs; moments (step, positions (B,), measures (m, B)); weights (positions (B,), theta (B, p)).

    And the weights of all moments, or of none: paths (step, positions (B,), theta (B, p)). A position says which run of
    the pack a number belongs to. Measures are float64 and NaN where a row says null.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    moments: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)
    weights: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    paths: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)

    @staticmethod
    def restored(saved: Mapping[str, Any], ids: Sequence[str], parameters: int) -> "Results":
        """Return what a checkpoint kept of a pack.

        Args:
            saved: Its lists of runs, moments, weights and paths; of an earlier version without the last.
            ids: Of the pack's runs, position by position.
            parameters: Of each network.

        Raises:
            ValueError, TypeError, KeyError: if that cannot be recorded.
        """
        moments = [(step, at, _with_all_measures(numbers)) for step, at, numbers in saved["moments"]]
        found = Results(list(saved["runs"]), moments, list(saved["weights"]), list(saved.get("paths", [])))
        rows = pa.Table.from_pylist(found.runs, schema=SCHEMAS["runs"])
        if not set(rows["run_id"].to_pylist()) <= set(ids) or not set(rows["status"].to_pylist()) <= STATUSES:
            raise ValueError("rows of other runs")
        if len(set(rows["run_id"].to_pylist())) < len(rows) or rows["steps"].null_count:
            raise ValueError("a run that ended twice, or never")
        count = len(MOMENT_MEASURES)
        placed = [(at, numbers, (count, len(at))) for step, at, numbers in found.moments if step == int(step)]
        placed += [(at, theta, (len(at), parameters)) for at, theta in found.weights]
        placed += [(at, theta, (len(at), parameters)) for step, at, theta in found.paths if step == int(step)]
        if found.paths and [at.tolist() for _, at, _ in found.paths] != [at.tolist() for _, at, _ in found.moments]:
            raise ValueError("moments without weights")
        for at, numbers, shape in placed:
            if at.dtype != torch.int64 or numbers.dtype != torch.float64 or numbers.shape != shape:
                raise ValueError("numbers of another shape")
            if not set(at.tolist()) <= set(range(len(ids))):
                raise ValueError("numbers of other runs")
        return found

    def saved(self) -> dict[str, Any]:
        """Return it for a checkpoint; without weights of moments, as earlier versions wrote it."""
        return {name: rows for name, rows in vars(self).items() if rows or name != "paths"}

    def add_moment(self, step: int, tiles: Sequence[tuple[Tensor, Mapping[str, Tensor]]]) -> None:
        """Add the measures of a step, tile by tile, each with the positions of its runs; a lacking measure is null."""
        if tiles:
            columns = [
                torch.stack([_column(measures, name, len(at)) for name in MOMENT_MEASURES]) for at, measures in tiles
            ]
            self.moments.append((step, torch.cat([at for at, _ in tiles]).cpu(), torch.cat(columns, 1)))

    def add(self, other: "Results") -> None:
        """Take over what another has."""
        self.runs += other.runs
        self.moments += other.moments
        self.weights += other.weights
        self.paths += other.paths

    def moments_of(self, positions: Tensor) -> list[tuple[int, Tensor, Tensor]]:
        """Return the moments of some ascending positions, with their places among these."""
        found = []
        for step, at, measures in self.moments:
            among = torch.isin(at, positions)
            found.append((step, torch.searchsorted(positions, at[among]), measures[:, among]))
        return found

    def tables(self, ids: Sequence[str], architecture: Architecture, seconds: float) -> dict[str, pa.Table]:
        """Return the three tables of a whole pack.

        Args:
            ids: Of the pack's runs, position by position.
            architecture: Of its networks.
            seconds: Wall time a run.
        """
        names = pa.array(ids, pa.string())
        trajectories, weights = self._trajectories(names, architecture), self._weights(names, architecture)
        moments = Counter(trajectories["run_id"].to_pylist())
        saved = set(weights["run_id"].to_pylist())
        rows = [
            row | {"seconds": seconds, "moments": moments[row["run_id"]], "weights_saved": row["run_id"] in saved}
            for row in self.runs
        ]
        return {
            "runs": as_table("runs", rows),
            "trajectories": trajectories,
            "weights": weights,
        }

    def _trajectories(self, names: pa.Array, architecture: Architecture) -> pa.Table:
        schema = SCHEMAS["trajectories"]
        if not self.moments:
            return schema.empty_table()
        steps = np.concatenate([np.full(len(at), step) for step, at, _ in self.moments])
        columns = {"run_id": names.take(_joined([at for _, at, _ in self.moments])), "step": pa.array(steps)}
        for index, name in enumerate(MOMENT_MEASURES):
            values = torch.cat([measures[index] for _, _, measures in self.moments]).numpy()
            columns[name] = pa.array(values, mask=~np.isfinite(values))
        table = pa.table(columns, schema=schema)
        few = max(1, _LIST_NUMBERS // architecture.count)
        pieces = [_lists(architecture, rows) for _, _, theta in self.paths for rows in theta.split(few)]
        for name in pieces[0] if pieces else ():
            table = table.append_column(name, pa.chunked_array([piece[name] for piece in pieces]))
        return table

    def _weights(self, names: pa.Array, architecture: Architecture) -> pa.Table:
        schema = SCHEMAS["weights"]
        if not self.weights:
            return schema.empty_table()
        pieces = []
        for at, theta in self.weights:  # one by one: what a list's offsets can reach is limited
            columns = {"run_id": names.take(pa.array(at.numpy()))} | _lists(architecture, theta)
            filled = {field.name: columns.get(field.name, pa.nulls(len(at), field.type)) for field in schema}
            pieces.append(pa.table(filled, schema=schema))
        return pa.concat_tables(pieces)


def _column(measures: Mapping[str, Tensor], name: str, count: int) -> Tensor:
    return measures[name].cpu() if name in measures else torch.full((count,), torch.nan, dtype=torch.float64)


def _lists(architecture: Architecture, theta: Tensor) -> dict[str, pa.Array]:
    """Return parameters by their names, a list of each network's."""
    columns = {}
    for name, values in architecture.named(theta).items():
        flat = values.reshape(len(values), -1).numpy()
        offsets = pa.array(np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1])
        columns[name] = pa.ListArray.from_arrays(offsets, pa.array(flat.ravel()))
    return columns


def _joined(positions: Sequence[Tensor]) -> pa.Array:
    return pa.array(torch.cat(list(positions)).numpy())


def _with_all_measures(numbers: Tensor) -> Tensor:
    """Return measures of a moment with those that an earlier version did not know, at the end, as NaN."""
    lacking = len(MOMENT_MEASURES) - len(numbers)
    if lacking <= 0:
        return numbers
    return torch.cat([numbers, numbers.new_full((lacking, *numbers.shape[1:]), torch.nan)])
