"""Template: a validated run, of which free parameters are replaced without looking at all the others again.

Free are parameters whose values are right or wrong by themselves: no default and no rule of another one depends on
them, to which a test holds `Run`. So a million runs that differ in seeds and step sizes are made in seconds, and their
ids alone in a fifth of that.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from relusweep.sweep.run import PARAMETERS, Run, written

FREE = frozenset(
    [
        "data_seed",
        "decay_bias",
        "dtype",
        "lr",
        "lr_ratio",
        "max_steps",
        "noise",
        "seed",
        "tolerance",
        "warmup_steps",
        "weight_decay",
    ]
)


class Template:
    """One of them."""

    def __init__(self, run: Run, free: Iterable[str]) -> None:
        """Make a template of a run.

        Args:
            run: Validated.
            free: The parameters that will be replaced, of `FREE`.
        """
        names = set(free)
        self._values, self._given = {key: run.__dict__[key] for key in PARAMETERS}, run.model_fields_set | names
        self._texts: list[str] = []  # what is hashed of the others, up to each of the free ones and after the last
        self._free: list[str] = []
        others: list[str] = []
        for key in sorted(PARAMETERS):
            if key in names:
                self._texts.append(",".join(others))
                self._free.append(key)
                others = []
            elif text := written(key, self._values[key]):
                others.append(text)
        self._texts.append(",".join(others))

    def ids(self, factors: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> Iterator[bytes]:
        """Yield the ids, 16 bytes each, of runs with every combination of rows of free values.

        Args:
            factors: Of each the parameters, and the values row by row: of one parameter themselves, of several tuples.
        """
        behind = dict(zip(self._free, self._texts[1:], strict=True))
        texts: list[list[tuple[str, ...]]] = []  # of each row of a factor, what is hashed up to the next free one
        for keys, rows in factors:
            tuples = ((row,) for row in rows) if len(keys) == 1 else rows
            texts.append([
                tuple(_joined((written(key, value), behind[key])) for key, value in zip(keys, row, strict=True))
                for row in tuples
            ])  # fmt: skip
        order = [key for keys, _ in factors for key in keys]
        places, first = [order.index(key) for key in self._free], self._texts[0]
        for chosen in itertools.product(*texts):
            flat = [*itertools.chain.from_iterable(chosen)]
            text = _joined([first, *[flat[place] for place in places]])
            yield hashlib.blake2b(text.encode(), digest_size=16).digest()

    def run(self, values: Mapping[str, Any]) -> Run:
        """Return a run with these values, each checked, of all the free parameters; its id comes with it."""
        parts = [self._texts[0]]
        for key, text in zip(self._free, self._texts[1:], strict=True):
            parts += (written(key, values[key]), text)
        made = Run.__new__(Run)
        made.__dict__.update(self._values)
        made.__dict__.update(values)
        text = _joined(parts)
        made.__dict__["id"] = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        object.__setattr__(made, "__pydantic_fields_set__", self._given)
        object.__setattr__(made, "__pydantic_extra__", None)
        object.__setattr__(made, "__pydantic_private__", None)
        return made


def _joined(parts: Iterable[str]) -> str:
    return ",".join([part for part in parts if part])
