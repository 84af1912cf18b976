"""What MkDocs asks of this project while it builds the site.

Pages of the repository that are read where they lie (README, slurm/README.md, …) become pages of the site, so that
nothing is written twice; a link to any other file of the repository leads to a copy of it. A marker in a page becomes
a table made of the code, and a formula becomes MathML, which browsers typeset themselves.
"""

import html
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT)]

from docs.reference import MARKER, TABLES  # noqa: E402 - found by the line above

# Pages that lie elsewhere: file of the repository -> page of the site.
INCLUDED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "bench/README.md": "reference/benchmarks.md",
    "slurm/README.md": "tutorials/slurm.md",
    "slurm/monitoring/README.md": "tutorials/monitoring.md",
}
_ORIGINS = {page: file for file, page in INCLUDED.items()}
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)(?=[#)])")
_FENCED = re.compile(r"(^ *```.*?^ *```$)", flags=re.M | re.S)
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', flags=re.S)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie elsewhere, and the files that pages link to."""
    for file, page in INCLUDED.items():
        files.append(File.generated(config, page, content=(ROOT / file).read_text(encoding="utf-8")))
    linked = {
        _inside(target, page.src_uri)
        for page in files.documentation_pages()
        for target in _LINK.findall("".join(_FENCED.split(page.content_string)[::2]))
    }
    for file in sorted(linked - INCLUDED.keys()):
        if not file.startswith("docs/") and (ROOT / file).is_file():
            files.append(File.generated(config, f"files/{file}", abs_src_path=str(ROOT / file)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put tables in the place of their markers, and let links lead to the site's pages."""
    pieces = _FENCED.split(markdown)
    here = page.file.src_uri
    pieces[::2] = [_LINK.sub(lambda found: _on_the_site(found[1], here), piece) for piece in pieces[::2]]
    return MARKER.sub(_table, "".join(pieces))


def on_page_content(content: str, **_: Any) -> str:
    """Typeset the formulas."""
    return _FORMULA.sub(_typeset, content)


def _table(found: re.Match[str]) -> str:
    if found[1] not in TABLES:
        raise PluginError(f"{found[0]}: no such table; expected one of {', '.join(TABLES)}.")
    return TABLES[found[1]]()


def _typeset(found: re.Match[str]) -> str:
    displayed = found[1] == "div"
    typeset = convert(html.unescape(found[2]), display="block" if displayed else "inline")
    for bar in ("&#x0007C;", "&#x02016;"):  # |a| and ‖w‖: no space around the bars, as tall as a letter
        typeset = typeset.replace(f"<mo>{bar}</mo>", f'<mo stretchy="false" lspace="0" rspace="0">{bar}</mo>')
    typeset = typeset.replace("<mo>max</mo>", "<mi>max</mi>")  # a name, and no operator with space around it
    return f'<div class="formula">{typeset}</div>' if displayed else typeset


def _inside(target: str, page: str) -> str:
    """Resolve a link of a page into a path of the repository."""
    origin = _ORIGINS.get(page, f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))


def _on_the_site(target: str, page: str) -> str:
    """Resolve a link of a page into one from that page to a page, picture or copied file of the site."""
    file = _inside(target, page)
    goal = INCLUDED.get(file) or (file.removeprefix("docs/") if file.startswith("docs/") else f"files/{file}")
    return posixpath.relpath(goal, posixpath.dirname(page) or ".")
