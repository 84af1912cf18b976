"""Spec: a validated TOML file, and the runs that it stands for.

A spec is a union of blocks; a block is the product of its grid axes, its zip rows and its random draws, on top of
fixed parameters. Everything is checked before anything is trained, and an error names file, key, value and cure.
"""

import difflib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from relusweep.sweep.arguments import PREFIX
from relusweep.sweep.block import MAX_RUNS, Block, RawBlock, lay_out
from relusweep.sweep.extra import validated
from relusweep.sweep.origin import Origin
from relusweep.sweep.refine import Refine
from relusweep.sweep.run import PARAMETERS, Run
from relusweep.sweep.sources import Sources
from relusweep.sweep.spec_error import SpecError, checked, first_of, nearest, sentence, shown
from relusweep.sweep.toml_file import parsed, text_of

SHIPPED = Path(__file__).parent / "specs"
TAIL = 0.1  # share of the steps over which studies average what oscillates


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class _Measured(BaseModel):
    """The table [measure]."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    every: str = Field(default="end", pattern=r"^(end|(log|tail):[1-9][0-9]{0,2})$")
    save_weights: bool | Literal["moments"] = False
    save_states: bool | None = None  # where runs stood when their steps were used up; null: those of small networks
    extra: Annotated[tuple[str, ...], BeforeValidator(_tuple), AfterValidator(validated)] = ()


class Measure(_Measured):
    """What is measured besides the end of every run."""

    sources: dict[str, str] = {}  # of the user's own measures: the hash of each file's bytes, and the function's name

    def moments(self, max_steps: int) -> tuple[int, ...]:
        """Return the steps at which the trajectory is recorded.

        `log:N` means N log-spaced ones of 1 … max_steps, `tail:N` the first and N evenly spaced ones of the last tenth.
        """
        form, _, count = self.every.partition(":")
        if form == "end":
            return ()
        if form == "log":
            steps = np.geomspace(1, max_steps, int(count))
        else:
            steps = np.append(1, np.linspace((1 - TAIL) * max_steps, max_steps, int(count) + 1)[1:])
        return tuple(int(step) for step in np.unique(steps.round()) if step >= 1)

    def footer(self) -> dict[str, str]:
        """Return what a part's footer says of it: which functions of the user's its columns are of."""
        return {"measures": json.dumps(self.sources, sort_keys=True)} if self.sources else {}

    def saved(self) -> dict[str, Any]:
        """Return it for a checkpoint; as earlier versions wrote it where they knew all of it."""
        unknown = {"save_states"} if self.save_states is None else set[str]()
        return self.model_dump(exclude=unknown | (set() if self.extra else {"extra", "sources"}))

    def is_of(self, saved: Any) -> bool:
        """Return whether a state, be it of an earlier version, was written by a training that measures the same."""
        try:
            return Measure.model_validate(saved) == self
        except ValidationError:
            return False


class Compare(BaseModel):
    """What a report compares, pair by pair."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    parameter: str

    @field_validator("parameter")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in PARAMETERS:
            raise ValueError(f"= {shown(name)}; expected a parameter: {nearest(name, PARAMETERS)}")
        return name


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    study: str | None = None
    fixed: dict[str, Any] = {}
    target: dict[str, Any] = {}
    block: Annotated[list[RawBlock], Field(min_length=1)]
    measure: _Measured = _Measured()
    refine: Refine | None = None
    compare: Compare | None = None
    origin: Origin | None = Field(default=None, alias="from")


@dataclass(frozen=True)
class Spec:
    """A sweep: its name, study and measures, where to add runs, and the blocks of those that it names."""

    place: str  # what errors call it
    name: str
    study: str | None
    measure: Measure
    refine: Refine | None
    blocks: tuple[Block, ...]
    text: str
    sources: Sources  # what the files hold that it names
    origin: Origin | None = None  # where its runs begin, if not at weights that are drawn
    branches: dict[str, str] = field(default_factory=dict)  # what was found there: contents of weights by `branch.key`

    def expand(self) -> Iterator[Run]:
        """Yield every run once, in the order of the file.

        Memory does not grow with the number of runs where there is one block; several, or several names of data files,
        need 16 bytes a run and the overhead of a set, to drop what they share.
        """
        if len(self.blocks) == 1 and not self.blocks[0].may_repeat:
            yield from self.blocks[0].expand()
            return
        seen: set[bytes] = set()
        for run in itertools.chain.from_iterable(block.expand() for block in self.blocks):
            key = bytes.fromhex(run.id)
            if key not in seen:
                seen.add(key)
                yield run

    def run(self, position: int) -> Run:
        """Return one run by its position in the blocks, where a run that several of them share has as many."""
        for block in self.blocks:
            if position < len(block):
                return block.run(position)
            position -= len(block)
        raise IndexError(position)

    @staticmethod
    def read(path: str | Path) -> "Spec":
        """Read a spec file, or a shipped spec by its name.

        Raises:
            SpecError: if there is no such file, or the first thing in it that is wrong.
            DataError: for the first data file that it names and that cannot be read.
        """
        path = Path(path)
        shipped = SHIPPED / f"{path}.toml"
        if not path.is_file() and len(path.parts) == 1 and shipped.is_file():
            path = shipped
        try:
            text = text_of(path, "a spec", SpecError)
        except OSError as error:
            names = sorted(file.stem for file in SHIPPED.glob("*.toml"))
            near = difflib.get_close_matches(path.stem, names, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise SpecError(
                f"{path}: no spec ({error.strerror}); {hint}expected a TOML file or one of {', '.join(names)}."
            ) from None
        return Spec.parse(text, str(path), path.parent)

    @staticmethod
    def parse(text: str, place: str, folder: Path = Path()) -> "Spec":
        """Read a spec from its text; `place` is what errors call it, and data files are relative to the folder."""
        try:
            file = _File.model_validate(parsed(text, place, SpecError))
        except ValidationError as error:
            raise SpecError(sentence(place, error, _known(first_of(error)["loc"]))) from None
        fixed = {key: checked(key, value, f"{place}: fixed.{key}") for key, value in file.fixed.items()}
        for name, value in file.target.items():
            key = f"{PREFIX}{name}"
            if key in fixed:
                raise SpecError(f"{place}: {key} is given in both [target] and [fixed]; expected it once. Remove one.")
            fixed[key] = checked(key, value, f"{place}: {key}")
        if file.origin:
            fixed |= file.origin.fixed(f"{place}: from")
        if (count := sum(block.count for block in file.block)) > MAX_RUNS:
            many = f"{count:,}" if count < 10**18 else "more than 10^18"
            raise SpecError(f"{place}: {many} runs; expected at most {MAX_RUNS:,}. Thin out an axis.")
        sources = Sources(folder)
        blocks = tuple(
            lay_out(fixed, block, f"{place}: block[{index}]", sources) for index, block in enumerate(file.block)
        )
        measure = Measure(**file.measure.model_dump(), sources=sources.of_measures(file.measure.extra))
        return Spec(place, file.name, file.study, measure, file.refine, blocks, text, sources, file.origin)


def _known(location: tuple[Any, ...]) -> tuple[str, ...]:
    """List the keys that the table holding `location` may have."""
    tables: dict[Any, type[BaseModel]] = {
        "block": RawBlock, "measure": _Measured, "refine": Refine, "compare": Compare, "from": Origin
    }  # fmt: skip
    table = tables.get(location[0], _File) if len(location) > 1 else _File
    return tuple(field.alias or name for name, field in table.model_fields.items())
