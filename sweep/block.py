"""Block: runs of a spec as the product of its grid axes, its zip rows and its random draws, on fixed parameters."""

import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from relusweep.sweep.arguments import PREFIX
from relusweep.sweep.data import DATA_KEYS
from relusweep.sweep.run import NAMES, PARAMETERS, Run
from relusweep.sweep.sources import KEYS, Found, Sources
from relusweep.sweep.spec_error import SpecError, checked, nearest, sentence, shown
from relusweep.sweep.store.run_ids import Keys, keys_from
from relusweep.sweep.template import FREE, Template

_FAMILY = 4096  # ids at a time
MAX_RUNS = 10_000_000  # beyond this a grid is a typing error
_MOST_TEMPLATES = 10_000  # of a block, kept at one time
_SPANS = {"log": np.geomspace, "linear": np.linspace}


class RawBlock(BaseModel):
    """A block as it stands in the file."""

    model_config = ConfigDict(extra="forbid", strict=True)
    fixed: dict[str, Any] = {}
    grid: dict[str, Any] = {}
    zip: dict[str, Any] = {}
    random: dict[str, Any] = {}

    @property
    def count(self) -> int:
        """How many runs it stands for at most, before any is laid out; what is no axis counts as one value."""
        zipped = [len(column) for column in self.zip.values() if isinstance(column, list)]
        drawn = self.random.get("count")
        return math.prod(map(_length, self.grid.values())) * max([1, *zipped]) * (drawn if type(drawn) is int else 1)


class Factor(NamedTuple):
    """What is varied together: parameters, and their values row by row, no row twice."""

    keys: tuple[str, ...]
    rows: Sequence[Any]  # of one key the values, of several tuples

    @staticmethod
    def of(columns: dict[str, Sequence[Any]]) -> "Factor":
        """Take the values of each key, and drop repeated rows."""
        first = next(iter(columns.values()))
        rows = first if len(columns) == 1 else list(zip(*columns.values(), strict=True))
        return Factor(tuple(columns), rows if isinstance(rows, range) else list(dict.fromkeys(rows)))


@dataclass(frozen=True)
class Block:
    """Fixed parameters, and factors whose product is taken."""

    place: str
    fixed: dict[str, Any]
    factors: tuple[Factor, ...]
    found: Found = field(default_factory=Found)  # what the files hold that it names

    def __len__(self) -> int:
        return math.prod(len(factor.rows) for factor in self.factors)

    @property
    def may_repeat(self) -> bool:
        """Whether a run may come twice: where files may hold the same under two names."""
        of_files = {*NAMES, "problem"} if self.found.offered else {*NAMES}
        return any(key in of_files for factor in self.factors for key in factor.keys)

    def settings(self, keys: tuple[str, ...], most: int | None = None) -> Iterator[tuple[Any, ...]]:
        """Yield the values that some parameters have together, each once; None for one that is not given.

        Args:
            keys: The parameters.
            most: Of every factor so many rows, its first ones; None: all.
        """
        involved = [factor for factor in self.factors if not set(keys).isdisjoint(factor.keys)]
        columns = []
        for names, rows in involved:
            places = [place for place, name in enumerate(names) if name in keys]
            columns.append(
                dict.fromkeys((row,) if len(names) == 1 else tuple(row[k] for k in places) for row in rows[:most])
            )
        varied = [name for names, _ in involved for name in names if name in keys]
        for rows in itertools.product(*columns):
            values = self.fixed | dict(zip(varied, itertools.chain(*rows), strict=True))
            yield tuple(values.get(key) for key in keys)

    def expand(self) -> Iterator[Run]:
        """Yield the block's runs; no run twice, since the rows of every factor differ, unless it `may_repeat`."""
        free = [FREE.issuperset(factor.keys) for factor in self.factors]
        keys = [key for factor, is_free in zip(self.factors, free, strict=True) if is_free for key in factor.keys]
        templates: dict[tuple[Any, ...], Template] = {}
        for rows in itertools.product(*(factor.rows for factor in self.factors)):
            bound = tuple(row for row, is_free in zip(rows, free, strict=True) if not is_free)
            template = templates.get(bound)
            if template is not None:
                yield template.run(self._values(rows, free))
                continue
            run = self._run(rows)
            if keys and len(templates) < _MOST_TEMPLATES:
                templates[bound] = Template(run, keys)
            yield run

    def families(self, free: Set[str]) -> Iterator[tuple[Run, Keys]]:
        """Yield the ids of all runs, some at a time, each time with a run that differs from theirs in `free` alone.

        Args:
            free: Some of `FREE`.
        """
        loose = [factor for factor in self.factors if free >= set(factor.keys)]
        bound = [factor for factor in self.factors if not free >= set(factor.keys)]
        values: dict[str, Any] = {}
        for rows in itertools.product(*(factor.rows for factor in bound), *(factor.rows[:1] for factor in loose)):
            for (keys, _), row in zip([*bound, *loose], rows, strict=True):
                values.update({keys[0]: row} if len(keys) == 1 else zip(keys, row, strict=True))
            run = self._valid(values)
            if not loose:
                yield run, keys_from([bytes.fromhex(run.id)])
                continue
            ids = Template(run, [key for factor in loose for key in factor.keys]).ids(loose)
            while some := list(itertools.islice(ids, _FAMILY)):
                yield run, keys_from(some)

    def run(self, position: int) -> Run:
        """Return one run, by its position among them."""
        places = np.unravel_index(position, [len(factor.rows) for factor in self.factors])
        return self._run(factor.rows[int(place)] for factor, place in zip(self.factors, places, strict=True))

    def of_own_functions(self, most: int) -> Iterator[Run]:
        """Yield a run on each data set of a user's functions, of which what makes no data has its default.

        Args:
            most: Data sets; more are left out.
        """
        if not self.found.code:
            return
        given = {*self.fixed, *(key for factor in self.factors for key in factor.keys)}
        keys = (*DATA_KEYS, *sorted(key for key in given if key.startswith(PREFIX)))
        for setting in itertools.islice(self.settings(keys, most), most):
            values = {key: value for key, value in zip(keys, setting, strict=True) if value is not None}
            run = self._made(values | {"lr": 1.0})
            if run.target_source:
                yield run

    def _values(self, rows: Iterable[Any], chosen: Iterable[bool]) -> dict[str, Any]:
        """Return the parameters in rows of the factors that are chosen."""
        values: dict[str, Any] = {}
        for (keys, _), row, is_chosen in zip(self.factors, rows, chosen, strict=True):
            if is_chosen and len(keys) == 1:
                values[keys[0]] = row
            elif is_chosen:
                values.update(zip(keys, row, strict=True))
        return values

    def _run(self, rows: Iterable[Any]) -> Run:
        return self._valid(self._values(rows, [True] * len(self.factors)))

    def _valid(self, varied: dict[str, Any]) -> Run:
        return self._made(self.fixed | varied)

    def _made(self, values: dict[str, Any]) -> Run:
        try:
            return Run.model_validate(self.found.complete(values))
        except ValidationError as error:
            raise SpecError(sentence(self.place, error, PARAMETERS)) from None
        except ValueError as error:
            raise SpecError(f"{self.place}: {error}") from None


def lay_out(shared: dict[str, Any], raw: RawBlock, place: str, sources: Sources) -> Block:
    """Check a block of a file, and lay its axes out.

    Args:
        shared: Fixed parameters of the whole file.
        raw: What stands there.
        place: What errors call it.
        sources: Reads the data files that it names.

    Raises:
        SpecError: for the first thing in it that is wrong.
        DataError: for the first data file that cannot be read.
    """
    drawn = set(raw.random) - {"count", "seed"}  # these two are how to draw
    given = {"fixed": set(raw.fixed), "grid": set(raw.grid), "zip": set(raw.zip), "random": drawn}
    for (one, keys), (other, others) in itertools.combinations(given.items(), 2):
        for key in sorted(keys & others):
            raise SpecError(f"{place}: {key} is given in both {one} and {other}; expected it once. Remove one.")
    fixed = shared | {key: checked(key, value, f"{place}.fixed.{key}") for key, value in raw.fixed.items()}
    for key in sorted(given["grid"] | given["zip"] | drawn):
        if key not in PARAMETERS and not key.startswith(PREFIX):
            raise SpecError(f"{place}: unknown parameter `{shown(key)[1:-1]}`; {nearest(key, PARAMETERS)}")
    factors = [Factor.of({key: _axis(key, axis, f"{place}.grid.{key}")}) for key, axis in raw.grid.items()]
    if raw.zip:
        columns = {key: _axis(key, value, f"{place}.zip.{key}") for key, value in raw.zip.items()}
        lengths = {key: len(column) for key, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise SpecError(f"{place}.zip: lists of different lengths, got {lengths}; expected equal ones.")
        factors.append(Factor.of(columns))
    if raw.random:
        factors.append(Factor.of(_draws(raw.random, f"{place}.random")))
    block = Block(place, fixed, tuple(factors))
    return replace(block, found=sources.look_up(block.settings(KEYS)))


def _axis(key: str, raw: Any, place: str) -> Sequence[Any]:
    """Read a list, or {log|linear = [lo, hi, num]}, or {range = [start, stop, step?]}."""
    form = "a list, { log = [lo, hi, num] }, { linear = [lo, hi, num] } or { range = [start, stop, step?] }"
    if isinstance(raw, list):
        values = raw
    elif isinstance(raw, dict) and len(raw) == 1 and next(iter(raw)) in (*_SPANS, "range"):
        ((kind, numbers),) = raw.items()
        if not isinstance(numbers, list) or not all(_is_number(v) for v in numbers):
            raise SpecError(f"{place}.{kind} = {shown(numbers)}; expected numbers, as in {form}.")
        values = _range(numbers, place) if kind == "range" else _span(kind, numbers, place)
    else:
        quoted = (
            f' An argument stands in quotes: "target.{min(raw)}".' if key == "target" and isinstance(raw, dict) else ""
        )
        raise SpecError(f"{place} = {shown(raw)}; expected {form}.{quoted}")
    if not values:
        raise SpecError(f"{place}: empty axis, got {shown(raw)}; expected at least one value.")
    if isinstance(values, range) and type(checked(key, values[0], f"{place}[0]")) is int:
        checked(key, values[-1], f"{place}[{len(values) - 1}]")  # what is allowed of whole numbers is an interval
        return values
    return _told_apart(key, [checked(key, value, f"{place}[{index}]") for index, value in enumerate(values)], place)


def _told_apart(key: str, values: list[Any], place: str) -> list[Any]:
    """Refuse arguments of different types that Python takes for equal, as 1 and 1.0: a block holds each value once."""
    if key.startswith(PREFIX):
        first: dict[Any, Any] = {}
        for value in values:
            if type(other := first.setdefault(value, value)) is not type(value):
                raise SpecError(f"{place}: {other!r} and {value!r} on one axis; expected one of them. Remove one.")
    return values


def _length(raw: Any) -> int:
    """Return how many values an axis has, before it is laid out; 1 of what is none."""
    if isinstance(raw, list):
        return len(raw)
    ((kind, numbers),) = raw.items() if isinstance(raw, dict) and len(raw) == 1 else [("", None)]
    if not isinstance(numbers, list) or not all(_is_number(v) for v in numbers):
        return 1
    if kind == "range" and _is_range(numbers):
        start, stop, step = (*numbers, 1)[:3]
        return max(0, -((start - stop) // step))
    return numbers[2] if kind in _SPANS and len(numbers) == 3 and type(numbers[2]) is int else 1


def _span(kind: str, numbers: list[Any], place: str) -> list[Any]:
    if len(numbers) != 3 or type(numbers[2]) is not int or not 0 <= numbers[2] <= MAX_RUNS:
        raise SpecError(f"{place}.{kind} = {shown(numbers)}; expected [lo, hi, num], num a whole number.")
    low, high, count = numbers
    if not np.isfinite([low, high]).all() or (kind == "log" and min(low, high) <= 0):
        raise SpecError(f"{place}.{kind} = {numbers}; expected finite ends{', above 0' if kind == 'log' else ''}.")
    return _round(_SPANS[kind](low, high, count))


def _round(values: Any) -> list[float]:
    return [float(f"{value:.12g}") for value in values]  # 0.1, not 0.10000000000000002


def _is_range(numbers: list[Any]) -> bool:
    return len(numbers) in (2, 3) and all(type(v) is int for v in numbers) and 0 not in numbers[2:]


def _range(numbers: list[Any], place: str) -> range:
    if not _is_range(numbers):
        raise SpecError(
            f"{place}.range = {shown(numbers)}; expected [start, stop] or [start, stop, step], whole numbers."
        )
    return range(*numbers)


def _draws(raw: dict[str, Any], place: str) -> dict[str, Sequence[Any]]:
    """Draw `count` values of each key at random; more of them, or another key, leave the first ones as they are."""
    count = _whole(raw.get("count"), 1, f"{place}.count")
    seed = _whole(raw.get("seed", 0), 0, f"{place}.seed")
    columns = {}
    for key, law in raw.items():
        if key in ("count", "seed"):
            continue
        rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
        drawn = [checked(key, v, f"{place}.{key}") for v in _law(law, rng, count, f"{place}.{key}")]
        columns[key] = _told_apart(key, drawn, f"{place}.{key}")
    if not columns:
        raise SpecError(f"{place}: nothing to draw; expected a key such as lr = {{ loguniform = [1e-3, 1] }}.")
    return columns


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _whole(value: Any, least: int, place: str) -> int:
    if type(value) is not int or not least <= value <= MAX_RUNS:
        raise SpecError(f"{place} = {shown(value)}; expected a whole number from {least} to {MAX_RUNS:,}.")
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
    raise SpecError(f"{place} = {shown(law)}; expected {form}, lo below hi (and above 0 for loguniform).")
