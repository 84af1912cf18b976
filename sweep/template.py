"""Template: a validated run, of which free parameters are replaced without looking at all the others again.

Free are parameters whose values are right or wrong by themselves: no default and no rule of another one depends on
them, to which a test holds `Run`. So a million runs that differ in seeds and step sizes are made in seconds.
"""

import hashlib
from collections.abc import Iterable, Mapping
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

    def run(self, values: Mapping[str, Any]) -> Run:
        """Return a run with these values, each checked, of all the free parameters; its id comes with it."""
        parts = [self._texts[0]]
        for key, text in zip(self._free, self._texts[1:], strict=True):
            parts += (written(key, values[key]), text)
        made = Run.__new__(Run)
        made.__dict__.update(self._values)
        made.__dict__.update(values)
        text = ",".join([part for part in parts if part])
        made.__dict__["id"] = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        object.__setattr__(made, "__pydantic_fields_set__", self._given)
        object.__setattr__(made, "__pydantic_extra__", None)
        object.__setattr__(made, "__pydantic_private__", None)
        return made
