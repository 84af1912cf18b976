"""The site: it builds without a warning, nothing in it comes from elsewhere, and tables and formulas are in it."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site, strictly; `make docs` installs what that takes."""
    if find_spec("mkdocs") is None:
        pytest.skip("no MkDocs; make docs brings it")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder


@pytest.mark.slow
def test_site_loads_nothing_from_other_hosts(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?([^\"'\s>]+)", text)
        loaded += re.findall(r"<link\b[^>]*rel=[\"']?(?:stylesheet|preconnect|icon)[^>]*href=[\"']?([^\"'\s>]+)", text)
        assert loaded
        assert not [target for target in loaded if re.match(r"(https?:)?//", target)], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_formulas_are_typeset(site: Path) -> None:
    text = (site / "science/stability.html").read_text(encoding="utf-8")
    assert text.count("<math") > 30
    assert "arithmatex" not in text
    for page in site.rglob("*.html"):
        assert not re.search(r"\\(frac|sum|lVert|sqrt)", page.read_text(encoding="utf-8")), page


def test_tables_stand_in_place_of_their_markers(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert "<!-- from the code" not in page.read_text(encoding="utf-8"), page
    assert "tolerance" in (site / "reference/parameters.html").read_text(encoding="utf-8")


def test_public_functions_have_their_place_in_the_api(site: Path) -> None:
    expected = {
        "bounds": "relusweep.analysis.bounds.judge",
        "fit": "relusweep.analysis.fit.fit_power",
        "floor": "Floors.least_error",
        "witness": "relusweep.analysis.witness.Witness.flattest",
        "measure": "relusweep.sweep.measure.end",
    }
    for page, what in expected.items():
        assert what in (site / f"api/{page}.html").read_text(encoding="utf-8")
