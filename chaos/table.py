"""Table: what a sweep has recorded, as any reader of Parquet sees it, bit for bit."""

import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from relusweep.sweep.record import SCHEMAS
from relusweep.sweep.store.part import completed

TABLES = ("runs", "trajectories", "weights")
# What may differ between two trainings of a run without saying anything about the run.
_CIRCUMSTANCES = {"seconds", "pack_id", "pack_size", "device", "backend", "code_version", "schema_version"}

Rows = Counter[tuple[Any, ...]]


def rows(store: Path) -> dict[str, Rows]:
    """Read the rows of every table, each as often as it is there, without what says nothing about a run."""
    return {table: _rows(store / table) for table in TABLES}


def differences(store: Path, undisturbed: Path) -> list[str]:
    """Return in which tables rows are lost, are there twice, or have changed."""
    found = []
    ours, theirs = rows(store), rows(undisturbed)
    for table in TABLES:
        keys, expected = (Counter(row[:2] for row in each.elements()) for each in (ours[table], theirs[table]))
        lost, doubled = (expected - keys).total(), (keys - expected).total()
        changed = len(set(ours[table]) - set(theirs[table]))
        found += [f"{table}: {lost} rows lost"] if lost else []
        found += [f"{table}: {doubled} rows doubled"] if doubled else []
        found += [f"{table}: {changed} rows changed"] if changed and not lost else []
    return found


def _rows(folder: Path) -> Rows:
    found: Rows = Counter()
    for part in sorted(folder.glob("[!.]*.parquet")):
        # of an earlier version's rows, what they lack as every reader of this one has it
        for row in completed(pq.ParquetFile(part).read(), SCHEMAS[folder.name]).to_pylist():
            kept = {key: value for key, value in sorted(row.items()) if key not in _CIRCUMSTANCES}
            found[(row["run_id"], row.get("step"), *map(_bits, kept.items()))] += 1
    return found


def _bits(item: tuple[str, Any]) -> tuple[Any, ...]:
    """Make a number comparable bit for bit; NaN equals itself."""
    key, value = item
    if isinstance(value, float):
        return key, struct.pack("d", value)
    return (key, struct.pack(f"{len(value)}d", *value)) if isinstance(value, list) else (key, value)
