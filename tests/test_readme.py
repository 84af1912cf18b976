"""The README does what it says: its commands run, its spec is one, its tables are those of the code, its links lead somewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.record import RESULTS
from sweep.run import PARAMETERS, Run
from sweep.spec import Spec

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [path for path in ROOT.rglob("*.md") if not {".venv", "results", ".git"} & set(path.relative_to(ROOT).parts)]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def parameter_table() -> str:
    lines = ["| parameter | default | meaning |", "|---|---|---|"]
    for name in PARAMETERS:
        field = Run.model_fields[name]
        default = field.get_default()
        if name in ("problem", "lr"):
            shown = "must be given"
        elif default is None or field.is_required():
            shown = "depends"
        else:
            shown = str(default).lower()
        lines.append(f"| `{name}` | {shown} | {field.description} |")
    return "\n".join(lines)


def result_table() -> str:
    lines = ["| column | meaning |", "|---|---|"]
    return "\n".join(
        [*lines, *(f"| `{name}` | {meaning.replace('|', chr(92) + '|')} |" for name, (_, meaning) in RESULTS.items())]
    )


def test_tables_of_parameters_and_columns_are_those_of_the_code():
    assert parameter_table() in README
    assert result_table() in README


def test_annotated_spec_is_valid_and_has_all_kinds_of_blocks():
    (text,) = blocks("toml")
    spec = Spec.parse(text, "README.md")
    assert sum(1 for _ in spec.expand()) == 9 * 8 + 9 * 4 * 2 + 20
    assert spec.measure.every == "log:20"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_are_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def masked(line: str) -> str:
    """A line without its numbers, which differ from machine to machine."""
    return " ".join(re.sub(r"[\d.,]+(e[+-]\d+)?", "#", line).split())


def test_commands_of_the_readme_run_and_end_as_shown(tmp_path):
    """Runs the demo for real, so this is also the test of the shipped demo: about a minute on two cores."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    assert shutil.which("relusweep", path=environment["PATH"])
    ran = 0
    for kind, block in re.findall(r"^```(console|python)\n(.*?)^```", README, flags=re.M | re.S):
        if kind == "python":
            subprocess.run([sys.executable, "-c", block], cwd=tmp_path, env=environment, check=True)
            ran += 1
            continue
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, flags=re.M):
            if command.startswith("make "):
                assert re.search(rf"^{command.removeprefix('make ')}:", (ROOT / "Makefile").read_text(), flags=re.M)
                continue
            done = subprocess.run(
                command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}: {done.stderr}"
            said, expected = (text.strip().splitlines()[-1] for text in (done.stdout, shown))
            assert masked(said) == masked(expected), command
            ran += 1
    assert ran >= 8
    assert (tmp_path / "results/demo/report/index.html").exists()
    assert (tmp_path / "network.npz").exists()
