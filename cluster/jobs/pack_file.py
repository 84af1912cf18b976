"""Pack file: packs handed from a launcher to its workers, which read those that they need, each by its number.

A row group of Parquet a pack: run ids, and the parameters that differ from the defaults.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.store.atomic import StoreError, replacing, store_errors
from relusweep.sweep.store.part import UNREADABLE
from relusweep.sweep.store.run_ids import RunIds, keys_of

_SCHEMA = pa.schema([("run_id", pa.string()), ("parameters", pa.string())])


@dataclass(frozen=True)
class PackFile:
    """A file of packs, and what to do should it be damaged."""

    path: Path
    cure: str = "Delete it, then run the same command again."

    def write(self, packs: Iterable[Pack]) -> None:
        """Write packs as they come, whole or not at all.

        Raises:
            StoreError: if the file system refuses.
        """
        path = self.path
        with (
            store_errors(path),
            replacing(path) as temporary,
            pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as file,
        ):
            for pack in packs:
                ids = [run.id for run in pack.runs]
                texts = [json.dumps(run.model_dump(exclude_defaults=True)) for run in pack.runs]
                file.write_table(pa.table([ids, texts], schema=_SCHEMA), row_group_size=len(ids))

    def read(self, numbers: Iterable[int]) -> Iterator[Pack]:
        """Yield packs; the others stay on the disk.

        Raises:
            StoreError: if they cannot be read.
        """
        with self._opened() as file:
            for number in numbers:
                texts = file.read_row_group(number, columns=["parameters"])["parameters"].to_pylist()
                yield Pack(tuple(Run.model_validate(json.loads(text)) for text in texts))

    def run_ids(self) -> list[RunIds]:
        """Return the ids of the runs of every pack.

        Raises:
            StoreError: if they cannot be read.
        """
        with self._opened() as file:
            groups = range(file.num_row_groups)
            return [RunIds.of(keys_of(file.read_row_group(k, columns=["run_id"])["run_id"])) for k in groups]

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        try:
            with pq.ParquetFile(self.path) as file:
                yield file
        except UNREADABLE as error:
            problem = str(error).splitlines()[0]
            message = f"{self.path}: cannot be read ({problem}); expected what relusweep wrote. {self.cure}"
            raise StoreError(message) from None
