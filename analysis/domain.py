"""Domain: which values a row can have. A store may come from anyone; what no run can be is refused undrawn."""

from typing import Any, get_args

import annotated_types
import polars as pl
from pydantic import ValidationError

from relusweep.sweep.record import RESULTS, STATUSES
from relusweep.sweep.run import NAMES, PARAMETERS, Run

_MOST_LETTERS = 200  # of a text
_SWITCHES = (
    "problem",
    "domain",
    "classes",
    "split",
    "depth",
    "activation",
    "init",
    "optimizer",
    "dtype",
)  # of few values
_MOST_KINDS = 1000  # of runs that differ in these


def stranger(runs: pl.DataFrame) -> str | None:
    """Return the first thing in a table of runs that cannot be: `run_id: column = value`; None if there is none."""
    found = runs.select(**{name: _is_wrong(name, kind).any() for name, kind in runs.schema.items()})
    for name in runs.columns:
        if found[name][0]:
            row = runs.filter(_is_wrong(name, runs.schema[name])).row(0, named=True)
            return f"{row['run_id']!r}: {name} = {row[name]!r}"[:_MOST_LETTERS]
    nulls = [pl.col(name).is_null().alias(f"{name} null") for name in PARAMETERS if runs[name].null_count()]
    kinds = runs.lazy().select(*_SWITCHES, *nulls, row=pl.int_range(pl.len())).unique([*_SWITCHES, *_names(nulls)])
    for place in kinds.head(_MOST_KINDS).collect()["row"].sort():
        row = runs.row(place, named=True)
        try:
            Run.model_validate({name: row[name] for name in PARAMETERS})
        except ValidationError as error:
            return f"{row['run_id']!r}: {error.errors()[0]['msg']}"[:_MOST_LETTERS]
    return None


def _names(columns: list[pl.Expr]) -> list[str]:
    return [each.meta.output_name() for each in columns]


def _is_wrong(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    wrong = pl.lit(False)
    if kind == pl.String:
        wrong |= column.str.len_bytes() > 4 * _MOST_LETTERS if name not in ("store", *NAMES) else False
    if name in PARAMETERS:
        return wrong | _is_no_parameter(name, column)
    if name == "run_id":
        return column.is_null() | ~column.str.contains("^[0-9a-f]{32}$")
    if name == "status":
        return column.is_null() | ~column.is_in(sorted(STATUSES))
    if kind == pl.Float64 and name in RESULTS:
        wrong |= ~column.is_finite()
    if kind == pl.Int64:
        wrong |= (column < 0) | (column > 2**53)
    return wrong | (column.is_null() if name == "steps" else False)


def _is_no_parameter(name: str, column: pl.Expr) -> pl.Expr:
    """Return the condition under which the field of a run refuses a value."""
    annotation, metadata = Run.model_fields[name].annotation, list[Any](Run.model_fields[name].metadata)
    parts = [annotation, *(part for part in get_args(annotation) if part is not type(None))]
    metadata += [each for part in parts for each in getattr(part, "__metadata__", ())]
    bounds = [each for field in metadata for each in (*getattr(field, "metadata", ()), field)]
    wrong = pl.lit(False) if type(None) in get_args(annotation) else column.is_null()
    for each in bounds:
        if isinstance(each, annotated_types.Ge):
            wrong |= column < each.ge
        elif isinstance(each, annotated_types.Gt):
            wrong |= column <= each.gt
        elif isinstance(each, annotated_types.Le):
            wrong |= column > each.le
        elif isinstance(each, annotated_types.Lt):
            wrong |= column >= each.lt
        elif getattr(each, "allow_inf_nan", True) is False:
            wrong |= ~column.is_finite()
    is_float = float in parts or any(float in get_args(part) for part in parts)
    return wrong | column.is_nan() if is_float else wrong
