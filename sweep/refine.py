"""Refine: the table [refine] of a spec, and its arithmetic: the outcome of a row, and where to look next."""

import difflib
import math
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from relusweep.sweep.record import CIRCUMSTANCES, RESULTS, SCHEMAS
from relusweep.sweep.run import PARAMETERS

_DIGITS = 6  # of a middle: an id must not depend on the last bits of a root
_ROUNDING = 10.0**-_DIGITS * 10  # what rounding may add to the logarithm of a ratio, all rounds together
_NUMBERS = (pa.float64(), pa.int64())

REFINABLE = tuple(name for name in PARAMETERS if SCHEMAS["runs"].field(name).type == pa.float64())
COLUMNS = ("status", *(name for name, (kind, _) in RESULTS.items() if kind in _NUMBERS and name not in CIRCUMSTANCES))


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in names:
            near = difflib.get_close_matches(value, names, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"= {value!r}; expected one of {', '.join(names)}.{hint}")
        return value

    return check


class Refine(BaseModel):
    """Where to add runs: between neighbouring values of a parameter of which one run meets the threshold, one does not.

    A run meets it if `column` is at most `threshold`, or, where the column is `status`, if it has converged. What is
    undefined, as after divergence, is above every threshold.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    parameter: Annotated[str, AfterValidator(_one_of(REFINABLE))]
    column: Annotated[str, AfterValidator(_one_of(COLUMNS))]
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    ratio: Annotated[float, Field(ge=1.0001, allow_inf_nan=False)] = 1.02
    rounds: Annotated[int, Field(ge=1, le=64)] = 16

    @model_validator(mode="after")
    def _consistent(self) -> "Refine":
        if self.column == "status" and self.threshold is not None:
            raise ValueError(f"threshold = {self.threshold}; a status is met by converging. Leave it out.")
        if self.column != "status" and self.threshold is None:
            raise ValueError(f"threshold is missing; expected the {self.column} that a run has to stay at or below.")
        return self

    def met(self, rows: pa.Table) -> np.ndarray:
        """Return which rows meet the threshold."""
        if self.threshold is None:
            return rows["status"].to_numpy() == "converged"
        return rows[self.column].cast(pa.float64()).to_numpy() <= self.threshold  # null is NaN there

    def is_wide(self, low: Any, high: Any, rounds: Any) -> Any:
        """Return whether to look between two values, after so many rounds."""
        return (high > self.ratio * low) & (rounds < self.rounds)

    def most(self, low: Any, high: Any, rounds: Any) -> np.ndarray:
        """Count the runs that may still be added between two values at most: each of them halves what is left."""
        width = np.log(high) - np.log(low)
        halvings = np.ceil(np.log2(np.maximum(width / (math.log(self.ratio) - _ROUNDING), 1)))
        return np.where(self.is_wide(low, high, rounds), np.clip(halvings, 1, self.rounds - rounds), 0).astype(int)


def middle(low: float, high: float) -> float:
    """Return the geometric mean, in few digits: the same number on every machine."""
    return float(f"{math.sqrt(low) * math.sqrt(high):.{_DIGITS}g}")
