"""The pages agree with the code: specs are specs, tables are made of the code, links lead somewhere, extras exist."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.reference import MARKER, TABLES
from relusweep.analysis.studies import STUDIES
from relusweep.cluster.slurm.machine import Machine
from relusweep.sweep.data import PROBLEMS
from relusweep.sweep.record import RESULTS
from relusweep.sweep.run import PARAMETERS
from relusweep.sweep.spec import SHIPPED, Spec
from tests.docs.pages import PAGES, ROOT, TYPED, blocks, name

DOCS = [page for page in PAGES if (ROOT / "docs") in page.parents]


def test_readme_is_short_and_has_one_picture() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert text.count("![") == 1


def test_every_table_that_is_made_of_the_code_stands_in_one_page_and_no_page_asks_for_another() -> None:
    asked = [found for page in DOCS for found in MARKER.findall(page.read_text(encoding="utf-8"))]
    assert sorted(asked) == sorted(TABLES)


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("parameters", PARAMETERS),
        ("columns", RESULTS),
        ("problems", PROBLEMS),
        ("specs", [path.stem for path in SHIPPED.glob("*.toml")]),
        ("machine", Machine.model_fields),
    ],
)
def test_table_has_a_row_for_each(table: str, names: list[str]) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", TABLES[table](), flags=re.M)
    assert sorted(rows) == sorted(names)


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_has_a_page_that_names_it(study: str) -> None:
    text = (ROOT / "docs" / "science" / f"{study}.md").read_text(encoding="utf-8")
    assert f"The study `{study}`" in text
    assert f"science/{study}.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_every_command_has_its_help_on_the_page() -> None:
    text = TABLES["commands"]()
    headings = re.findall(r"^## relusweep (\w+)$", text, flags=re.M)
    assert headings == re.findall(r"^Usage: relusweep (\w+) ", text, flags=re.M)
    assert set(headings) >= {"plan", "run", "status", "watch", "cancel", "verify", "compact", "report"}
    assert set(headings) >= {"replay", "export", "doctor"}


def test_annotated_spec_is_valid_and_has_all_kinds_of_blocks() -> None:
    block = next(each for each in blocks(ROOT / "docs/reference/spec.md") if each.language == "toml")
    spec = Spec.parse(block.content, "docs/reference/spec.md")
    assert sum(1 for _ in spec.expand()) == 9 * 8 + 9 * 4 * 2 + 20
    assert spec.measure.every == "log:20"


def test_table_of_depth_specs_counts_their_runs() -> None:
    text = (ROOT / "docs/science/depth_separation.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `(depth_\w+)` \| ([\d,]+)", text, flags=re.M)
    counts = {path.stem: sum(map(len, Spec.read(path.stem).blocks)) for path in SHIPPED.glob("depth_*.toml")}
    assert {name: int(count.replace(",", "")) for name, count in shown} == counts


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file and the anchor of every link that stays in the repository."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)]*)\)", text):
        if not target.startswith("http"):
            yield (page.parent / target if target else page), anchor


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for target, anchor in links(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_of_the_repository_that_a_page_names_are_there(page: Path) -> None:
    rooms = "sweep|cluster|analysis|relusweep|slurm|docs|tests|bench"
    for file in re.findall(rf"`((?:{rooms})/[\w./-]*)`", page.read_text(encoding="utf-8")):
        assert (ROOT / file).exists() or (page.parent / file).exists(), file


def test_every_picture_is_shown_on_a_page() -> None:
    shown = {target.resolve() for page in PAGES for target, _ in links(page)}
    assert set((ROOT / "docs").rglob("*.png")) <= shown


def test_extras_that_the_pages_name_exist_and_what_they_bring_is_pinned() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = {extra for given in re.findall(r"'(?:relusweep|\.)\[([\w,]+)\]'", text) for extra in given.split(",")}
    assert named == {"slurm", "ray"}
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.M)
    for extra in named | {"docs"}:
        brought = {re.match(r"[\w.-]+", requirement)[0] for requirement in extras[extra]}
        assert brought <= set(pinned)


def test_pages_whose_commands_are_typed_are_there() -> None:
    assert all(page.exists() for page in TYPED)


def test_every_promise_names_tests_that_exist() -> None:
    text = (ROOT / "docs/reference/promises.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) >= 15
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            assert re.search(rf"^def {test}\(", (ROOT / "tests" / file).read_text(encoding="utf-8"), flags=re.M), test
