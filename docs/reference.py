"""Tables of the reference, made of the code, so that they cannot say anything else than the code does.

A page holds `<!-- from the code: parameters -->` in a line of its own; the site has the table in its place.
"""

import contextlib
import io
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from relusweep.analysis.bounds import BOUNDS
from relusweep.cli import main
from relusweep.cluster.slurm.machine import Machine
from relusweep.sweep.data import PROBLEM_KEYS, PROBLEMS
from relusweep.sweep.extra import BUILT_IN, SPECTRUM
from relusweep.sweep.record import RESULTS
from relusweep.sweep.run import CONDITIONAL, PARAMETERS, Run
from relusweep.sweep.spec import SHIPPED, Spec

ROOT = Path(__file__).parent.parent
MARKER = re.compile(r"^<!-- from the code: (\w+) -->$", flags=re.M)


def parameters() -> str:
    """Return the table of a run's parameters."""
    rows = []
    for name in PARAMETERS:
        field = Run.model_fields[name]
        default = field.get_default()
        if name in ("problem", "lr"):
            shown = "must be given"
        elif name in CONDITIONAL:
            switch, settings, there = CONDITIONAL[name]
            where = " or ".join(f"`{_toml(setting)}`" for setting in settings)
            shown = "null" if there is None else f"`{there}` where `{switch}` is {where}"
            shown += "" if default is None else f", else `{default}`"
        elif default is None or field.is_required():
            shown = "depends"
        else:
            shown = f"`{str(default).lower()}`"
        rows.append((f"`{name}`", shown, field.description))
    return _table(("parameter", "default", "meaning"), rows)


def columns() -> str:
    """Return the table of what is recorded of a run besides its parameters."""
    return _table(("column", "meaning"), [(f"`{name}`", meaning) for name, (_, meaning) in RESULTS.items()])


def extra() -> str:
    """Return the table of what `[measure] extra` may ask for."""
    rows = [(name, each.columns, each.meaning) for name, each in BUILT_IN.items()]
    rows.append(("spectrum:K", ("spectrum_1", "…", "spectrum_K"), SPECTRUM))
    rows.append(("FILE.py:FUNCTION", ("FUNCTION", "or FUNCTION_1", "…"), "what a function of your own returns"))
    shown = [(f"`{name}`", ", ".join(f"`{column}`" for column in columns), meaning) for name, columns, meaning in rows]
    return _table(("measure", "columns", "meaning"), shown)


def problems() -> str:
    """Return the table of problems, with the parameters that each alone reads."""
    rows = [
        (f"`{name}`", problem.meaning, ", ".join(f"`{key}`" for key in problem.defaults if key in PROBLEM_KEYS))
        for name, problem in PROBLEMS.items()
    ]
    return _table(("problem", "target", "parameters of its own"), rows)


def specs() -> str:
    """Return the table of the specs that are shipped, with what the first lines of each say."""
    rows = []
    for path in sorted(SHIPPED.glob("*.toml")):
        spec = Spec.read(path.stem)
        runs = sum(map(len, spec.blocks))
        rows.append((f"`{path.stem}`", f"{spec.study}", f"{runs:,}" + " and more" * bool(spec.refine), _head(path)))
    return _table(("spec", "study", "runs", "for"), rows)


def bounds() -> str:
    """Return the table of the theorems that runs are held against."""
    rows = [(f"`{bound.name}`", bound.statement, bound.source) for bound in BOUNDS.values()]
    return _table(("bound", "statement", "source"), rows)


def assumptions() -> str:
    """Return the list of what a run has to meet before a bound says anything of it, with the bounds that ask for it."""
    asking: dict[str, list[str]] = {}
    for bound in BOUNDS.values():
        for each in bound.assumptions:
            asking.setdefault(each, []).append(bound.symbol)
    return "\n".join(f"- {each} ({', '.join(symbols)})" for each, symbols in asking.items())


def machine() -> str:
    """Return the table of a machine file's keys, and the example in which each is explained."""
    properties = Machine.model_json_schema()["properties"]
    example = (ROOT / "slurm" / "example.toml").read_text(encoding="utf-8")
    shown = tomllib.loads(example)
    rows = []
    for name, field in Machine.model_fields.items():
        if field.is_required():
            default = "must be given"
        elif field.default_factory is not None:
            default = "depends"
        else:
            default = "left to the site" if field.default is None else f"`{_toml(field.default)}`"
        given = f"`{_toml(shown[name])}`" if shown.get(name) else ""
        rows.append((f"`{name}`", _kind(properties[name]), default, given))
    table = _table(("key", "type", "default", "in the example"), rows)
    return f'{table}\n\n```toml title="slurm/example.toml"\n{example}```'


def commands() -> str:
    """Return the help of every command, each under a heading of its own."""
    listed = re.findall(r"^  (\w+)  ", _help().partition("Commands:")[2], flags=re.M)
    return "\n\n".join(f"## relusweep {name}\n\n```text\n{_help(name)}```" for name in listed)


TABLES: Mapping[str, Callable[[], str]] = {
    "parameters": parameters,
    "columns": columns,
    "extra": extra,
    "problems": problems,
    "specs": specs,
    "bounds": bounds,
    "assumptions": assumptions,
    "machine": machine,
    "commands": commands,
}


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, ["---"] * len(head), *([str(cell).replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _help(*command: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main([*command, "--help"])
    return printed.getvalue()


def _head(path: Path) -> str:
    """Return the comment at the top of a file."""
    found = re.match(r"(# .*\n)+", path.read_text(encoding="utf-8"))
    return " ".join(line.removeprefix("# ") for line in found[0].splitlines()) if found else ""


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a type of JSON Schema as TOML calls it."""
    names = {"string": "text", "integer": "whole number", "array": "list of texts", "object": "table of texts"}
    kinds = [each["type"] for each in schema.get("anyOf", [schema]) if each["type"] != "null"]
    return " or ".join(names[kind] for kind in kinds)


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return {(): "[]"}.get(value, str(value)) if not isinstance(value, dict) else "{}"
