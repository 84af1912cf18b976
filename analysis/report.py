"""Report: a study of one or several stores, written as one page, tables and figures. Works offline, from Parquet."""

import difflib
import html
import io
import json
import math
import os
import re
import secrets
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup

from relusweep.analysis.extra import KEY, SHOWN, extra_table
from relusweep.analysis.plotting import save
from relusweep.analysis.studies import STUDIES
from relusweep.analysis.study import Study, StudyResult
from relusweep.analysis.study import load as load_study
from relusweep.analysis.table import PARAMETERS, Table, TableError, load, varied
from relusweep.sweep.errors import RelusweepError
from relusweep.sweep.record import code_version
from relusweep.sweep.store.small_file import content_of
from relusweep.sweep.store.store import Store, store_errors

DEFAULT, COMPARISON = "stability", "compare"
MOST_ROWS = 200  # of a table on the page; the files have all
MANIFEST = "report.json"  # what a report consists of, so that the next one replaces it and nothing else


class ReportError(RelusweepError):
    """A report cannot be written: the message says why, and what would help."""


def write(
    stores: Sequence[str | Path],
    study: str | None = None,
    out: str | Path | None = None,
    *,
    every_run: bool = False,
    compare: str | None = None,
) -> Path:
    """Write the report of a study, with a comparison where one is asked for.

    Beside `index.html`, which needs no other file and no network, it writes each table as CSV and Parquet, each
    figure as SVG and PNG, and `report.json` with the verdicts. A former report in the same place is replaced.

    Args:
        stores: Directories of `relusweep run`; several are read as one, a run in more than one counts once.
        study: A name in `STUDIES`; by default the one that the first spec with a study names, else `stability`.
        out: Where to write; by default `report` in the first store.
        compare: A parameter, the values of which are compared pair by pair; by default what the first spec with a
            table [compare] names, if any does.
        every_run: Report on the runs of earlier specs too; by default on those that the stores' present specs name.

    Returns:
        The path of `index.html`.

    Raises:
        StoreError: if a store cannot be read, or the report not written.
        TableError: if no run is recorded.
        ReportError: if there is no such study or parameter, or `out` is taken.
    """
    if not stores:
        raise ReportError("report: got no store; expected at least one. Name a directory written by `relusweep run`.")
    specs, notes = _specs([Path(store) for store in stores])
    name = study or _named_study(specs, notes)
    question = _study(name)
    table = replace(load(stores, question.moments, every_run=every_run), compare=_compared(compare, specs))
    notes += _left_out(table)
    result = question(table)
    if table.compare and name != COMPARISON:
        question, result = _with_comparison(question, result, table, notes, asked=compare is not None)
    if (found := extra_table(table.runs)) is not None:
        question = replace(question, shown={**question.shown, KEY: SHOWN})
        result = replace(result, tables={**result.tables, KEY: found})
    files = {
        **_table_files(result.tables),
        **{f"{key}.{form}": save(figure, form) for key, figure in result.figures.items() for form in ("svg", "png")},
    }
    files[MANIFEST] = _manifest(name, question, result, notes, [*files, "index.html", MANIFEST])
    files["index.html"] = _page(name, question, result, table, notes, files).encode(errors="replace")
    folder = Path(out) if out else Path(stores[0]) / "report"
    if out is None and folder.is_symlink():
        raise ReportError(f"{folder}: a link, which leads out of the store; expected a folder. Name it with --out.")
    with store_errors(folder):
        _replace(folder, files)
    return folder / "index.html"


def _specs(stores: Sequence[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """Read the specs of stores; what cannot be read is a note, since runs can be had without their spec."""
    found, notes = [], []
    for store in stores:
        path = Store.open(store).spec_path
        try:
            found.append(tomllib.loads(content_of(path).decode("utf-8-sig")) if path.exists() else {})
        except (OSError, ValueError, RecursionError) as error:  # not TOML, not UTF-8
            notes.append(f"{path}: not readable ({error}), so that it names no study; the runs are.")
    return found, notes


def _named_study(specs: list[dict[str, Any]], notes: list[str]) -> str:
    """Return the study that the first spec with one names; others are a note."""
    named = [spec["study"] for spec in specs if isinstance(spec.get("study"), str)]
    others = sorted({other for other in named if other != named[0]})
    if others:
        notes.append(f"The stores name several studies; this is {named[0]}, not {', '.join(others)}.")
    return named[0] if named else DEFAULT


def _compared(asked: str | None, specs: list[dict[str, Any]]) -> str | None:
    """Return the parameter that is to be compared."""
    tables = [spec["compare"] for spec in specs if isinstance(spec.get("compare"), dict)]
    name = asked or next((table["parameter"] for table in tables if table.get("parameter") in PARAMETERS), None)
    if name is not None and name not in PARAMETERS:
        near = difflib.get_close_matches(name[:80], PARAMETERS, 1)
        hint = f"Did you mean {near[0]!r}?" if near else "They are the columns of a run's settings."
        raise ReportError(f"--compare {name}: unknown parameter; expected one of a run's. {hint}")
    return name


def _with_comparison(
    question: Study, result: StudyResult, table: Table, notes: list[str], *, asked: bool
) -> tuple[Study, StudyResult]:
    """Add a comparison to what a study found; if none can be made, that is a note, unless the user asked for it here.

    Raises:
        TableError: if all runs agree in the parameter, and the command asked for it.
    """
    other = _study(COMPARISON)
    try:
        found = other(table)
    except TableError as error:
        if asked:
            raise
        notes.append(str(error))
        return question, result
    words = {symbol for symbol, _ in question.glossary}
    glossary = [*question.glossary, *(entry for entry in other.glossary if entry[0] not in words)]
    both = StudyResult(
        verdicts=[*result.verdicts, *found.verdicts],
        tables={**result.tables, **found.tables},
        figures={**result.figures, **found.figures},
        bounds=result.bounds,
        notes=[*result.notes, *found.notes],
    )
    return replace(question, shown={**question.shown, **other.shown}, glossary=glossary), both


def _left_out(table: Table) -> list[str]:
    """Return notes on the recorded runs that the report leaves out."""
    others = [f"{s.store} ({s.left_out})" for s in table.sources if s.left_out]
    notes = [f"Left out are runs that the present spec does not name: {', '.join(others)}. --all takes them."]
    twice = f"Left out are {table.repeated} runs of which others went on: the same trainings, with another end."
    return (notes if others else []) + ([twice] if table.repeated else [])


def _study(name: str) -> Study:
    """Load a study, or raise with the nearest name."""
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, 1)
        hint = f"Did you mean {near[0]!r}?" if near else "Name one with `study = ` in the spec."
        raise ReportError(f"study = {name!r}: unknown study; expected one of {', '.join(STUDIES)}. {hint}")
    return load_study(STUDIES[name])


# Files --------------------------------------------------------------------------------------------------------------


def _table_files(tables: dict[str, pl.DataFrame]) -> dict[str, bytes]:
    files = {}
    for key, table in tables.items():
        files[f"{key}.csv"] = table.with_columns(_no_formulas, _lists_as_text).write_csv().encode()
        files[f"{key}.parquet"] = _parquet(table)
    return files


# Texts of a store from elsewhere, such as names of files, are no formulas to a spreadsheet.
_text = pl.selectors.string()
_no_formulas = pl.when(_text.str.contains(r"^[=+\-@\t\r]")).then("'" + _text).otherwise(_text).name.keep()

# A cell of a CSV file is no list: its numbers stand with spaces between them.
_lists_as_text = pl.selectors.list().cast(pl.List(pl.String)).list.join(" ")


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def _manifest(name: str, study: Study, result: StudyResult, notes: list[str], files: list[str]) -> bytes:
    content = {
        "study": name,
        "question": study.question,
        "verdicts": [vars(verdict) | {"answer": verdict.answer} for verdict in result.verdicts],
        "notes": [*result.notes, *notes],
        "files": sorted(files),
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(errors="replace")


def _replace(folder: Path, files: dict[str, bytes]) -> None:
    """Write all files aside, then rename them one by one, the page last; delete what only the former report had.

    A reader sees the former page or the new one, never half a file; files that are not a report's are left alone.
    """
    former = _former(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = folder / f".writing-{secrets.token_hex(4)}"
    aside.mkdir(mode=0o700)
    try:
        for name, content in files.items():
            (aside / name).write_bytes(content)
        for name in files:
            os.replace(aside / name, folder / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for stale in (folder / name for name in former - set(files)):
        if stale.is_file():
            stale.unlink()


def _former(folder: Path) -> set[str]:
    """List the files of the report that is there; refuse a page that is not ours."""
    try:
        listed = json.loads(content_of(folder / MANIFEST))["files"]
        return {name for name in listed if isinstance(name, str) and name == Path(name).name}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        if (folder / "index.html").exists():
            raise ReportError(
                f"{folder}: holds an index.html that is no report of relusweep; expected a free or a former report's "
                "directory. Choose another one."
            ) from None
        return set()


# The page -----------------------------------------------------------------------------------------------------------


def _page(name: str, study: Study, result: StudyResult, table: Table, notes: list[str], files: dict[str, bytes]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    runs = table.runs
    first, varying = runs.head(1).row(0, named=True), varied(runs)
    return environment.get_template("report.html").render(
        name=name,
        study=study,
        result=result,
        notes=[*result.notes, *notes],
        pictures={key: _inline(key, files[f"{key}.svg"], study.shown[key].title) for key in result.figures},
        most_rows=MOST_ROWS,
        setting={p: first[p] for p in PARAMETERS if p not in varying and first[p] is not None},
        varied={p: _range(runs[p]) for p in varying},
        statuses=dict(runs["status"].value_counts().sort("count", "status", descending=[True, False]).iter_rows()),
        sources=table.sources,
        made_by=_made_by(runs),
        version=code_version(),
    )


def _inline(key: str, svg: bytes, title: str) -> Markup:
    """Make a figure part of a page: no document type, no metadata, names that no other figure has, and a label."""
    text = svg.decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{key}-", text)
    text = re.sub(r' width="[^"]*pt"| height="[^"]*pt"', "", text.partition(">")[0]) + ">" + text.partition(">")[2]
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1))


def _range(values: pl.Series) -> str:
    distinct = values.unique().sort()
    if len(distinct) <= 6:
        return ", ".join("–" if value is None else _cell(value) for value in distinct)
    if values.dtype.is_numeric():
        return f"{len(distinct)} values, {_cell(distinct.min())} to {_cell(distinct.max())}"
    return f"{len(distinct)} values"


def _made_by(runs: pl.DataFrame) -> dict[str, str]:
    columns = ("code_version", "schema_version", "kernel", "backend", "device", "dtype")
    found = {name: runs.select(pl.col(name).unique().sort().drop_nulls())[name] for name in columns}
    return {name: ", ".join(map(str, values)) or "–" for name, values in found.items()}


def _cell(value: object) -> str:
    """Write a value for a reader: four digits, a dash for undefined."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return str(value)
