"""The README does what it says: its commands run, its spec is one, its tables are those of the code, its links lead somewhere."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import groupby
from pathlib import Path

import pytest

from relusweep.cluster.progress import Snapshot, sentence
from relusweep.sweep.data import PROBLEM_KEYS, PROBLEMS
from relusweep.sweep.record import RESULTS
from relusweep.sweep.run import PARAMETERS, Run
from relusweep.sweep.spec import SHIPPED, Spec

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
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


def problem_table() -> str:
    lines = ["| problem | target | parameters of its own |", "|---|---|---|"]
    for name, problem in PROBLEMS.items():
        keys = ", ".join(f"`{key}`" for key in problem.defaults if key in PROBLEM_KEYS)
        lines.append(f"| `{name}` | {problem.meaning} | {keys} |")
    return "\n".join(lines)


def test_tables_of_problems_parameters_and_columns_are_those_of_the_code():
    assert problem_table() in README
    assert parameter_table() in README
    assert result_table() in README


def test_annotated_spec_is_valid_and_has_all_kinds_of_blocks():
    (text,) = blocks("toml")
    spec = Spec.parse(text, "README.md")
    assert sum(1 for _ in spec.expand()) == 9 * 8 + 9 * 4 * 2 + 20
    assert spec.measure.every == "log:20"


def test_table_of_depth_specs_counts_their_runs():
    counts = {
        name: int(count.replace(",", ""))
        for name, count in re.findall(r"^\| `(depth_\w+)` \| ([\d,]+)", README, flags=re.M)
    }
    assert counts == {path.stem: sum(map(len, Spec.read(path.stem).blocks)) for path in SHIPPED.glob("depth_*.toml")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_are_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def masked(line: str) -> str:
    """A line without its numbers and times, which differ from machine to machine, and without the device's name."""
    line = re.sub(r"\d+ (s|min|h)( \d+ (s|min))?( left|(?= if))", "<time>", line)
    line = re.sub(r"-?\d[\d.,]*(e[+-]\d+)?", "#", line)
    return " ".join(re.sub(r"(in a pack of # on) .*", r"\1 <device>", line).split())


def compared(shown: str) -> list[str]:
    """The lines of an output that are the same everywhere: how often progress is told depends on the machine."""
    lines = [masked(line) for line in shown.splitlines() if " training on " not in line]
    return [line for line, _ in groupby(lines)]


def told() -> set[str]:
    """The forms that a line of progress may have."""
    moment = Snapshot(9, {"budget": 1}, {"budget": 1}, 7, 2, 1e5, 0)
    return {masked(sentence(moment, seconds)) for seconds in (None, 5, 65)}


def outputs(block: str, prompt: str) -> dict[str, str]:
    """What a block shows of each command."""
    return dict(re.findall(rf"^{prompt}(.*)\n((?:(?!{prompt}).*\n)*)", block, flags=re.M))


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run everything that the README shows, in its order; gives what each command and each program said.

    Runs the demo for real, so this is also the test of the shipped demo: about a minute on two cores.
    """
    folder = tmp_path_factory.mktemp("readme")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    assert shutil.which("relusweep", path=environment["PATH"])
    said = {}
    for kind, block in re.findall(r"^```(console|python)\n(.*?)^```", README, flags=re.M | re.S):
        for command in outputs(block, r"\$ ") if kind == "console" else [block]:
            if not command.startswith("make "):
                words = ["bash", "-c", command] if kind == "console" else [sys.executable, "-c", command]
                done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
                assert (done.returncode, done.stderr) == (0, ""), command
                said[command] = done.stdout
    assert len(said) >= 8
    assert (folder / "results/demo/report/index.html").exists()
    assert (folder / "network.npz").exists()
    return said


def test_commands_of_the_readme_say_line_by_line_what_it_shows(said):
    for block in blocks("console"):
        for command, shown in outputs(block, r"\$ ").items():
            if command in said:
                assert compared(said[command]) == compared(shown), command
    ((program, shown),) = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", README, flags=re.M | re.S)
    assert compared(said[program]) == compared(shown)


def test_demo_of_the_readme_is_that_of_the_makefile(said):
    block = blocks("text")[0]
    shown = outputs(block, ".venv/bin/")
    (recipe,) = re.findall(r"^demo:.*\n((?:\t.*\n)+)", MAKEFILE, flags=re.M)
    assert list(shown) == re.findall(r"^\t\$\(BIN\)/(.*)$", recipe, flags=re.M)
    for command, lines in shown.items():
        assert compared(said[command]) == compared(lines), command


def test_progress_is_told_in_the_form_that_the_readme_shows(said):
    for line in (README + "".join(said.values())).splitlines():
        assert " training on " not in line or masked(line) in told()


def test_makefile_has_the_targets_that_the_readme_names():
    for target in re.findall(r"^\$ make (\S+)$", README, flags=re.M):
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.M)


def test_extras_that_the_pages_name_exist_and_what_they_bring_is_pinned():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = {extra for given in re.findall(r"'(?:relusweep|\.)\[([\w,]+)\]'", text) for extra in given.split(",")}
    assert named == {"slurm", "ray"}
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.M)
    brought = {re.match(r"[\w.-]+", requirement)[0] for extra in named for requirement in extras[extra]}
    assert brought <= set(pinned)
