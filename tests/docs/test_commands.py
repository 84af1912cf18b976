"""The pages do what they say: their commands and programs run, in the order in which they stand, and show what is shown."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, TYPED, Block, blocks, compared, masked, name, outputs, progress_lines

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
_SEPARATOR = "----- and what the next cell prints -----"

Printed = dict[tuple[Path, str], str]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Printed:
    """Type everything that the pages show, page by page, in one folder; returns what each command and cell printed.

    Trains the demo for real, so this is also the test of the shipped demo: about a minute on two cores.
    """
    folder = tmp_path_factory.mktemp("pages")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MPLBACKEND": "agg"}
    assert shutil.which("relusweep", path=environment["PATH"])

    def run(words: list[str], what: str) -> str:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        refused = done.stderr.startswith(("SpecError", "DataError")) and not done.stdout
        assert refused or (done.returncode, done.stderr) == (0, ""), f"{what}: {done.stdout}{done.stderr}"
        return done.stdout or done.stderr

    said = {}
    for page in TYPED:
        shown = [block for block in blocks(page) if not block.excuse]
        for block in shown:
            if block.title:
                (folder / block.title).write_text(block.content, encoding="utf-8")
            for command in block.commands:
                if not command.startswith("make "):
                    said[page, command] = run(["bash", "-c", command], command)
        cells = [block.content for block in shown if block.language == "python"]
        program = f"print({_SEPARATOR!r})\n".join(cells)  # they share their names, as in a notebook
        if cells:
            answers = run([sys.executable, "-c", program], name(page)).split(_SEPARATOR + "\n")
            said |= {(page, cell): answer for cell, answer in zip(cells, answers, strict=True)}
    assert (folder / "results/demo/report/index.html").exists()
    assert (folder / "network.npz").exists()
    assert (folder / "sharpness.png").exists()
    return said


def shown(language: str) -> list[Block]:
    """Return the blocks of a kind that are run."""
    return [each for page in TYPED for each in blocks(page) if each.language == language and not each.excuse]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_console_blocks_of_a_page_are_run_or_the_page_says_why_not(page: Path) -> None:
    for block in blocks(page):
        if block.language in ("console", "python") and page not in TYPED:
            assert block.excuse or all(command.startswith("make ") for command in block.commands), block.content


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_reasons_of_a_page_name_tests_that_are_there(page: Path) -> None:
    for block in blocks(page):
        for path in re.findall(r"tests/[\w/.]+\w", block.excuse or ""):
            assert (ROOT / path).exists(), path


@pytest.mark.slow
def test_commands_print_line_by_line_what_the_pages_show(printed: Printed) -> None:
    for block in shown("console"):
        for command, lines in block.commands.items():
            if (block.page, command) in printed and (lines or not command.startswith("relusweep")):
                assert compared(printed[block.page, command]) == compared(lines), command


@pytest.mark.slow
def test_cells_print_line_by_line_what_the_pages_show(printed: Printed) -> None:
    cells = shown("python")
    assert len(cells) >= 6
    for cell in cells:
        assert compared(printed[cell.page, cell.content]) == compared(cell.output or ""), cell.content


@pytest.mark.slow
def test_demo_of_the_readme_is_that_of_the_makefile(printed: Printed) -> None:
    readme = TYPED[0]
    block = next(each for each in blocks(readme) if each.language == "text")
    lines_of = outputs(block.content, ".venv/bin/")
    (recipe,) = re.findall(r"^demo:.*\n((?:\t.*\n)+)", MAKEFILE, flags=re.M)
    assert list(lines_of) == re.findall(r"^\t\$\(BIN\)/(.*)$", recipe, flags=re.M)
    for command, lines in lines_of.items():
        assert compared(printed[readme, command]) == compared(lines), command


@pytest.mark.slow
def test_progress_has_the_form_that_the_pages_show(printed: Printed) -> None:
    forms = progress_lines()
    shown_lines = [line for page in TYPED for line in page.read_text(encoding="utf-8").splitlines()]
    for line in [*shown_lines, *"".join(printed.values()).splitlines()]:
        assert " training on " not in line or masked(line) in forms


def test_makefile_has_the_targets_that_the_pages_name() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"^\$ make (\w+)|`make (\w+)`", text, flags=re.M):
            assert re.search(rf"^{''.join(target)}:", MAKEFILE, flags=re.M), f"{name(page)}: make {''.join(target)}"
