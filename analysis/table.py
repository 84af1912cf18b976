"""Table: the runs of one or several stores as one data frame, without their trainer's libraries."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sweep.record import RESULTS, SCHEMAS
from sweep.store import Store

PARAMETERS = tuple(name for name in SCHEMAS["runs"].names if name not in RESULTS)


class TableError(Exception):
    """There is nothing to analyse: the message says where, and what would help."""


@dataclass(frozen=True)
class Source:
    """What one store contributed.

    `rows` counts its readable runs, before runs that an earlier store also has are dropped; `broken` gives for every
    part that could not be read its path and the reason; `failures` counts packs that crashed and are not yet redone.
    """

    store: str
    rows: int
    failures: int
    broken: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Runs, one row each, sorted by `run_id`, and their trajectories, sorted by `run_id` and `step`.

    The columns are those of `sweep.record`, and `store`, which names where a row was read. Null means undefined.
    """

    runs: pl.DataFrame
    trajectories: pl.DataFrame
    sources: tuple[Source, ...]


def load(stores: Sequence[str | Path]) -> Table:
    """Read stores; a run that several of them hold counts once, as the first of them recorded it.

    Args:
        stores: Directories written by `relusweep run`, at least one.

    Raises:
        StoreError: if one of them is no store, or one of another schema version.
        TableError: if no run is recorded in any of them.
    """
    opened = [Store.open(path) for path in stores]
    runs, trajectories, sources = [], [], []
    for store in opened:
        rows, broken = _read(store, "runs")
        moments, broken_moments = _read(store, "trajectories")
        runs.append(rows)
        trajectories.append(moments)
        unreadable = tuple((str(part), reason) for part, reason in {**broken, **broken_moments}.items())
        sources.append(Source(str(store.path), len(rows), len(store.failures()), unreadable))
    if not any(map(len, runs)):
        raise TableError(_nothing(sources))
    return Table(_union(runs, "run_id"), _union(trajectories, "run_id", "step"), tuple(sources))


def _read(store: Store, table: str) -> tuple[pl.DataFrame, dict[Path, str]]:
    rows, broken = store.read(table)
    frame = pl.DataFrame(pl.from_arrow(rows))
    return frame.with_columns(store=pl.lit(str(store.path))), broken


def _union(frames: list[pl.DataFrame], *keys: str) -> pl.DataFrame:
    """Stack frames, keep the first of rows with equal keys, and sort: the order of parts and stores leaves no trace."""
    return pl.concat(frames).unique(keys, keep="first", maintain_order=True).sort(keys)


def _nothing(sources: list[Source]) -> str:
    names = ", ".join(source.store for source in sources) or "no store given"
    broken = sum(len(source.broken) for source in sources)
    cure = "See `relusweep verify` for the broken parts" if broken else "Train with `relusweep run` first"
    unreadable = f" and {broken} broken {'part' if broken == 1 else 'parts'}" if broken else ""
    return f"{names}: nothing to report, got 0 recorded runs{unreadable}; expected at least one. {cure}."
