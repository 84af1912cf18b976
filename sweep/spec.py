"""Spec: a validated TOML file, and the runs that it stands for.

A spec is a union of blocks; a block is the product of its grid axes, its zip rows and its random draws, on top of
fixed parameters. Everything is checked before anything is trained, and an error names file, key, value and cure.
"""

import difflib
import itertools
import tomllib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.refine import Refine
from relusweep.sweep.run import PARAMETERS, Run

SHIPPED = Path(__file__).parent / "specs"
TAIL = 0.1  # share of the steps over which studies average what oscillates
MAX_RUNS = 10_000_000  # beyond this a grid is a typing error
_SPANS = {"log": np.geomspace, "linear": np.linspace}
_FORMS = {  # of texts that have one, in words: a regular expression is no help to who got it wrong
    "block": "one table or more. Write [[block]].",
    "name": "letters, digits, '_', '-' and '.', a letter or digit first. It becomes the name of a directory.",
    "every": "'end', 'log:N' or 'tail:N' with N from 1 to 999. Write 'log:20' for 20 log-spaced moments.",
    "classes": "two digits with a comma between them. Write '0,1'.",
}


class SpecError(RelusweepError):
    """A spec is wrong: the message is one line, `file: key: what is wrong; what was expected; cure`."""


class Measure(BaseModel):
    """What is measured besides the end of every run."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    every: str = Field(default="end", pattern=r"^(end|(log|tail):[1-9][0-9]{0,2})$")
    save_weights: bool = False

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


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    fixed: dict[str, Any] = {}
    grid: dict[str, Any] = {}
    zip: dict[str, Any] = {}
    random: dict[str, Any] = {}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    study: str | None = None
    fixed: dict[str, Any] = {}
    block: Annotated[list[_Block], Field(min_length=1)]
    measure: Measure = Measure()
    refine: Refine | None = None


@dataclass(frozen=True)
class Block:
    """Fixed parameters, and factors whose product is taken: each factor is a list of rows of parameters."""

    place: str
    fixed: dict[str, Any]
    factors: tuple[list[dict[str, Any]], ...]

    def __len__(self) -> int:
        return int(np.prod([len(rows) for rows in self.factors], dtype=object))

    def expand(self) -> Iterator[Run]:
        """Yield the block's runs; no run twice, since the rows of every factor differ."""
        for rows in itertools.product(*self.factors):
            yield self._run(rows)

    def run(self, position: int) -> Run:
        """Return one run, by its position among them."""
        places = np.unravel_index(position, [len(rows) for rows in self.factors])
        return self._run(rows[place] for rows, place in zip(self.factors, places, strict=True))

    def _run(self, rows: Iterable[dict[str, Any]]) -> Run:
        parameters = self.fixed.copy()
        for row in rows:
            parameters.update(row)
        try:
            return Run.model_validate(parameters)
        except ValidationError as error:
            raise SpecError(_sentence(self.place, error, PARAMETERS)) from None


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

    def expand(self) -> Iterator[Run]:
        """Yield every run once, in the order of the file.

        Memory does not grow with the number of runs where there is one block; several need 16 bytes a run and the
        overhead of a set, to drop what they share.
        """
        if len(self.blocks) == 1:
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
        """
        path = Path(path)
        shipped = SHIPPED / f"{path}.toml"
        if not path.is_file() and len(path.parts) == 1 and shipped.is_file():
            path = shipped
        try:
            text = path.read_text(encoding="utf-8-sig")  # some editors put a mark before the text
        except UnicodeDecodeError:
            raise SpecError(f"{path}: not a text file; expected a spec in TOML, UTF-8.") from None
        except OSError as error:
            names = sorted(file.stem for file in SHIPPED.glob("*.toml"))
            near = difflib.get_close_matches(path.stem, names, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise SpecError(
                f"{path}: no spec ({error.strerror}); {hint}expected a TOML file or one of {', '.join(names)}."
            ) from None
        return Spec.parse(text, str(path))

    @staticmethod
    def parse(text: str, place: str) -> "Spec":
        """Read a spec from its text; `place` is what errors call it."""
        try:
            raw = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"{place}: not valid TOML: {error}") from None
        try:
            file = _File.model_validate(raw)
        except ValidationError as error:
            raise SpecError(_sentence(place, error, _known(_first(error)["loc"]))) from None
        for key, value in file.fixed.items():
            _check(key, value, f"{place}: fixed.{key}")
        blocks = tuple(_block(file.fixed, block, f"{place}: block[{index}]") for index, block in enumerate(file.block))
        if sum(len(block) for block in blocks) > MAX_RUNS:
            raise SpecError(
                f"{place}: {sum(len(block) for block in blocks):.3g} runs; expected at most {MAX_RUNS:.0e}. "
                "Thin out an axis."
            )
        return Spec(place, file.name, file.study, file.measure, file.refine, blocks, text)


def _block(shared: dict[str, Any], raw: _Block, place: str) -> Block:
    drawn = set(raw.random) - {"count", "seed"}  # these two are how to draw
    sources = {"fixed": set(raw.fixed), "grid": set(raw.grid), "zip": set(raw.zip), "random": drawn}
    for (one, keys), (other, others) in itertools.combinations(sources.items(), 2):
        for key in sorted(keys & others):
            raise SpecError(f"{place}: {key} is given in both {one} and {other}; expected it once. Remove one.")
    for key, value in raw.fixed.items():
        _check(key, value, f"{place}.fixed.{key}")
    for key in sorted(sources["grid"] | sources["zip"] | drawn):
        if key not in PARAMETERS:
            raise SpecError(f"{place}: unknown parameter `{key}`; {nearest(key, PARAMETERS)}")
    factors = [_distinct([{key: v} for v in _axis(key, raw.grid[key], f"{place}.grid.{key}")]) for key in raw.grid]
    if raw.zip:
        columns = {key: _axis(key, value, f"{place}.zip.{key}") for key, value in raw.zip.items()}
        lengths = {key: len(column) for key, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise SpecError(f"{place}.zip: lists of different lengths, got {lengths}; expected equal ones.")
        factors.append(_distinct([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]))
    if raw.random:
        factors.append(_distinct(_draws(raw.random, f"{place}.random")))
    return Block(place, shared | raw.fixed, tuple(factors))


def _distinct(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({tuple(row.items()): row for row in rows}.values())


def _axis(key: str, raw: Any, place: str) -> list[Any]:
    """Read a list, or {log|linear = [lo, hi, num]}, or {range = [start, stop, step?]}."""
    form = "a list, { log = [lo, hi, num] }, { linear = [lo, hi, num] } or { range = [start, stop, step?] }"
    if isinstance(raw, list):
        values = raw
    elif isinstance(raw, dict) and len(raw) == 1 and next(iter(raw)) in (*_SPANS, "range"):
        ((kind, numbers),) = raw.items()
        if not isinstance(numbers, list) or not all(_is_number(v) for v in numbers):
            raise SpecError(f"{place}.{kind} = {numbers!r}; expected numbers, as in {form}.")
        values = _range(numbers, place) if kind == "range" else _span(kind, numbers, place)
    else:
        raise SpecError(f"{place} = {raw!r}; expected {form}.")
    if not values:
        raise SpecError(f"{place}: empty axis, got {raw!r}; expected at least one value.")
    for index, value in enumerate(values):
        _check(key, value, f"{place}[{index}]")
    return values


def _span(kind: str, numbers: list[Any], place: str) -> list[Any]:
    if len(numbers) != 3 or type(numbers[2]) is not int or not 0 <= numbers[2] <= MAX_RUNS:
        raise SpecError(f"{place}.{kind} = {numbers}; expected [lo, hi, num], num a whole number.")
    low, high, count = numbers
    if not np.isfinite([low, high]).all() or (kind == "log" and min(low, high) <= 0):
        raise SpecError(f"{place}.{kind} = {numbers}; expected finite ends{', above 0' if kind == 'log' else ''}.")
    return _round(_SPANS[kind](low, high, count))


def _round(values: Any) -> list[float]:
    return [float(f"{value:.12g}") for value in values]  # 0.1, not 0.10000000000000002


def _range(numbers: list[Any], place: str) -> list[Any]:
    if len(numbers) not in (2, 3) or not all(type(v) is int for v in numbers) or 0 in numbers[2:]:
        raise SpecError(f"{place}.range = {numbers}; expected [start, stop] or [start, stop, step], whole numbers.")
    if len(range(*numbers)) > MAX_RUNS:
        raise SpecError(f"{place}.range = {numbers}; expected at most {MAX_RUNS:.0e} values.")
    return list(range(*numbers))


def _draws(raw: dict[str, Any], place: str) -> list[dict[str, Any]]:
    """Draw `count` rows at random; more of them, or another key, leave the first ones as they are."""
    count = _whole(raw.get("count"), 1, f"{place}.count")
    seed = _whole(raw.get("seed", 0), 0, f"{place}.seed")
    columns = {}
    for key, law in raw.items():
        if key in ("count", "seed"):
            continue
        rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
        columns[key] = _law(law, rng, count, f"{place}.{key}")
        for value in columns[key]:
            _check(key, value, f"{place}.{key}")
    if not columns:
        raise SpecError(f"{place}: nothing to draw; expected a key such as lr = {{ loguniform = [1e-3, 1] }}.")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _whole(value: Any, least: int, place: str) -> int:
    if type(value) is not int or not least <= value <= MAX_RUNS:
        raise SpecError(f"{place} = {value!r}; expected a whole number from {least} to {MAX_RUNS:,}.")
    return value


def _law(law: Any, rng: np.random.Generator, count: int, place: str) -> list[Any]:
    form = "{ uniform = [lo, hi] }, { loguniform = [lo, hi] }, { integers = [lo, hi] } or { choice = [...] }"
    kind, values = next(iter(law.items())) if isinstance(law, dict) and len(law) == 1 else ("", None)
    if isinstance(values, list) and kind == "choice" and values:
        return [values[i] for i in rng.integers(len(values), size=count)]
    if isinstance(values, list) and len(values) == 2 and all(_is_number(v) for v in values):
        low, high = values
        if not np.isfinite(values).all() or low >= high:
            pass
        elif kind == "uniform":
            return _round(rng.uniform(low, high, count))
        elif kind == "loguniform" and low > 0:
            return _round(np.exp(rng.uniform(np.log(low), np.log(high), count)))
        elif kind == "integers" and type(low) is type(high) is int:
            return [int(v) for v in rng.integers(low, high, count)]
    raise SpecError(f"{place} = {law!r}; expected {form}, lo below hi (and above 0 for loguniform).")


def _check(key: str, value: Any, place: str) -> None:
    """Check one value alone, so that the error can name its very place."""
    if key not in PARAMETERS:
        raise SpecError(f"{place}: unknown parameter; {nearest(key, PARAMETERS)}")
    try:
        _validator(key).validate_python(value)
    except ValidationError as error:
        raise SpecError(f"{place} {_what(error.errors()[0], PARAMETERS, key)}") from None


@cache
def _validator(key: str) -> Any:
    field = Run.model_fields[key]
    annotated: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(annotated, config=ConfigDict(strict=True))


# Messages ------------------------------------------------------------------------------------------------------------


def _first(error: ValidationError) -> Any:
    """Choose the error to report: a key that is unknown rather than the one that is missing for it."""
    errors = error.errors()
    return next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])


def _sentence(place: str, error: ValidationError, known: tuple[str, ...]) -> str:
    """Return one line about the first thing that is wrong, with its path in the file."""
    first = _first(error)
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    what = _what(first, known, str(first["loc"][-1]) if first["loc"] else "")
    return (
        f"{place}: {path.removeprefix('.')}{' ' if what.startswith('=') else ': '}{what}"
        if path
        else f"{place}: {what}"
    )


def _what(error: Any, known: tuple[str, ...], key: str) -> str:
    """Return one validation error of a key as `= value; expected …`, or the nearest known key."""
    if error["type"] == "extra_forbidden":
        return f"unknown key; {nearest(key, known)}"
    if error["type"] == "missing":
        return f"missing; expected it here{' or in [fixed]' if key in PARAMETERS else ''}."
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if key in _FORMS:
        return f"= {error['input']!r}; expected {_FORMS[key]}"
    message = error["msg"].replace("Input should be ", "").replace("valid dictionary", "table")
    near = difflib.get_close_matches(str(error["input"]), error.get("ctx", {}).get("expected", "").split("'")[1::2], 1)
    return f"= {error['input']!r}; expected {message}." + (f" Did you mean {near[0]!r}?" if near else "")


def _known(location: tuple[Any, ...]) -> tuple[str, ...]:
    """List the keys that the table holding `location` may have."""
    tables: dict[Any, type[BaseModel]] = {"block": _Block, "measure": Measure, "refine": Refine}
    return tuple((tables.get(location[0], _File) if len(location) > 1 else _File).model_fields)


def nearest(name: str, known: tuple[str, ...]) -> str:
    """Name the known name that is meant, or list them all."""
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}."
