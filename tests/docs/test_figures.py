"""Pictures of the pages: each is made by a command that is named, and shows the sweep that the text speaks of."""

import io
import re
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from docs import figures

ROOT = Path(__file__).parent.parent.parent
PAGES = {
    path: path.read_text(encoding="utf-8")
    for path in ROOT.rglob("*.md")
    if not {".venv", "results", ".git", "site", "build"} & set(path.relative_to(ROOT).parts)
}


def texts(name):
    """What a picture says of itself."""
    with Image.open(ROOT / "docs" / name) as picture:
        return picture.text


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout without stores, whose commands write reports of one figure."""

    def relusweep(command, *arguments):
        if command == "report":
            folder = tmp_path / arguments[0] / "report"
            folder.mkdir()
            Image.new("RGB", (3000, 1000)).save(folder / "functions.png")

    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figures, "DOCS", tmp_path)
    monkeypatch.setattr(figures, "relusweep", relusweep)
    return tmp_path


@pytest.fixture
def stored(checkout):
    """The same with a store of three runs."""
    store = checkout / "results" / "depth_separation_quick"
    (store / "runs").mkdir(parents=True)
    (store / "store.json").write_text("{}")
    rows = {"run_id": ["a", "b", "c"], "status": ["budget", "diverged", "budget"]}
    pl.DataFrame(rows).write_parquet(store / "runs" / "part.parquet")
    return checkout


def test_every_picture_has_a_command_or_says_that_it_was_taken_by_hand():
    assert {path.name for path in (ROOT / "docs").glob("*.png")} == {*figures.PICTURES, *figures.BY_HAND}


def test_every_picture_is_on_a_page():
    shown = {Path(target).name for text in PAGES.values() for target in re.findall(r"!\[[^]]*\]\(([^)]+\.png)\)", text)}
    assert shown == {*figures.PICTURES, *figures.BY_HAND}


def test_page_with_the_report_names_the_command_that_makes_its_picture():
    pages = [text for text in PAGES.values() if re.search(r"!\[[^]]*\]\([^)]*report\.png\)", text)]
    assert pages
    assert all("`make figures`" in text for text in pages)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^figures:.*\n\t\$\(BIN\)/python docs/figures\.py$", makefile, flags=re.M)


def test_report_in_the_picture_counts_the_runs_as_the_text_does():
    counts = dict(re.findall(r"(\d+) (runs|converged|budget|diverged)", texts("report.png")["Runs"]))
    found = {status: count for count, status in counts.items()}
    line = "{runs}/{runs} runs · {converged} converged, {budget} at budget, {diverged} diverged".format(**found)
    ends = [
        each
        for text in PAGES.values()
        for each in re.findall(rf"^{found['runs']}/{found['runs']} runs · .*$", text, flags=re.M)
    ]
    assert set(ends) == {line}


def test_picture_without_its_store_is_left_and_the_command_for_the_store_is_printed(checkout, capsys):
    assert figures.main(["stability_mnist.png", "depth_full.png"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "docs/stability_mnist.png: left as it is: no results/stability_mnist. "
        "Train it with `relusweep run stability_mnist --data DIR`",
        "docs/depth_full.png: left as it is: no results/depth_separation. "
        "Train it with `relusweep run depth_separation`",
    ]
    assert list(checkout.iterdir()) == []


def test_picture_is_the_figure_of_the_report_and_says_what_it_is_of(stored, capsys):
    assert figures.main(["depth_functions.png"]) == 0
    assert capsys.readouterr().out == "docs/depth_functions.png: made from results/depth_separation_quick\n"
    with Image.open(stored / "depth_functions.png") as picture:
        assert picture.size == (1500, 500)
        assert picture.text == {
            "Source": "relusweep run depth_separation_quick",
            "Runs": "3 runs: 2 budget, 1 diverged",
        }


def test_without_a_browser_the_page_is_left_and_the_cure_is_named(stored, monkeypatch):
    monkeypatch.setattr(figures.shutil, "which", lambda _: None)
    lacking = figures.unmet(figures.PICTURES["report.png"], stored)
    assert lacking == "no chromium or chromedriver. Install them: apt-get install chromium chromium-driver"


def test_unknown_picture_is_misuse(capsys):
    assert figures.main(["reprot.png"]) == 2
    assert capsys.readouterr().err.startswith("figures: got reprot.png; expected some of report.png, ")


def test_small_pictures_keep_their_size(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (200, 100)).save(buffer, "png")
    figures.save(buffer.getvalue(), tmp_path / "small.png", {"Source": "a command"})
    with Image.open(tmp_path / "small.png") as picture:
        assert picture.size == (200, 100)
