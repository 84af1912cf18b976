"""Run ids: a set of run ids that fits the memory of a laptop: 16 bytes a run, where a Python set of texts takes 115."""

from collections.abc import Iterable, Iterator, Sequence, Set
from functools import cached_property
from typing import Any, final

import numpy as np
import pyarrow as pa

Keys = np.ndarray  # (n,), 16 bytes each: the hexadecimal digits of a run id, read as bytes

KEY = np.dtype("S16")  # sorts and compares as bytes do; what it forgets, trailing zeros, the fixed length restores


@final
class RunIds(Set[str]):
    """Run ids, each once, in their order. Never changes."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.keys: Keys = _once(np.fromiter(map(bytes.fromhex, ids), KEY))

    @classmethod
    def of(cls, *keys: Keys) -> "RunIds":
        """Collect keys that need be neither sorted nor distinct."""
        made = cls()
        made.keys = _once(np.concatenate([made.keys, *keys]))
        return made

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[str]:
        for key in self.keys.tolist():
            yield key.ljust(KEY.itemsize, b"\0").hex()

    def __contains__(self, run_id: object) -> bool:
        try:
            key = bytes.fromhex(str(run_id))
        except ValueError:
            return False
        place = self.keys.searchsorted(np.array(key, KEY))
        return self.keys[place : place + 1].tobytes() == key

    def __sub__(self, other: Set[Any]) -> "RunIds":
        return self.where(~self.among(other))

    def among(self, other: Set[Any]) -> np.ndarray:
        """Return which of them are among other ids too: a mask."""
        places, found = self.find((other if isinstance(other, RunIds) else RunIds(other)).keys)
        mask = np.zeros(len(self), bool)
        mask[places[found]] = True
        return mask

    def where(self, mask: np.ndarray) -> "RunIds":
        """Keep those for which the mask is true; they need no sorting again."""
        made = RunIds()
        made.keys = self.keys[mask]
        return made

    def find(self, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """Look up many keys at once.

        Returns:
            For each key its position among the ids, meaningless where it is not one of them, and whether it is.
        """
        if not len(self):
            return np.zeros(len(keys), np.intp), np.zeros(len(keys), bool)
        heads = _heads(keys)
        places = np.minimum(self._heads.searchsorted(heads), len(self) - 1)
        found = (_words(self.keys[places]) == _words(keys)).all(1)
        if (alike := ~found & (self._heads[places] == heads)).any():  # there may be several that begin so
            places[alike] = np.minimum(self.keys.searchsorted(keys[alike]), len(self) - 1)
            found[alike] = (_words(self.keys[places[alike]]) == _words(keys[alike])).all(1)
        return places, found

    @cached_property
    def _heads(self) -> np.ndarray:
        """The first half of every key, as numbers, among which one is found five times faster."""
        return _heads(self.keys)


class MergedIds:
    """Run ids that grow by few at a time: sets of which each is at least twice as large as the next.

    So adding costs the logarithm of their number, where one sorted array would be copied each time.
    """

    def __init__(self) -> None:
        self._sets: list[RunIds] = []

    def add(self, ids: RunIds) -> None:
        """Add ids; some may be there already."""
        while self._sets and len(self._sets[-1]) < 2 * len(ids):
            ids = RunIds.of(self._sets.pop().keys, ids.keys)
        self._sets.append(ids)

    def among(self, ids: Set[str]) -> set[str]:
        """Return those of some ids that are here."""
        return {run_id for run_id in ids if any(run_id in known for known in self._sets)}


def keys_of(column: pa.ChunkedArray) -> Keys:
    """Read a column of run ids.

    Raises:
        ValueError: if one of them is no run id.
    """
    if column.null_count:
        raise ValueError("a row without run_id")
    texts = column.to_pylist()
    digits = bytes.fromhex("".join(texts))  # which takes no notice of spaces
    if len(digits) != KEY.itemsize * len(texts) or set(map(len, texts)) - {2 * KEY.itemsize}:
        raise ValueError("a run_id that is not 32 hexadecimal digits")
    return np.frombuffer(digits, KEY)


def keys_from(ids: Sequence[bytes]) -> Keys:
    """Put ids together."""
    return np.frombuffer(b"".join(ids), KEY)


def _once(keys: Keys) -> Keys:
    """Sort in place, and drop repetitions."""
    keys.sort()
    words = _words(keys)
    new = (words[1:] != words[:-1]).any(1)
    return keys if new.all() else keys[np.concatenate([[True], new])]


def _heads(keys: Keys) -> np.ndarray:
    """Return the first halves of keys, as numbers that sort as they do."""
    return keys.view(">u8").reshape(-1, 2)[:, 0].astype(np.uint64)


def _words(keys: Keys) -> np.ndarray:
    """View keys as pairs of machine words, which compare fifty times faster than text."""
    return keys.view(np.uint64).reshape(-1, 2)
