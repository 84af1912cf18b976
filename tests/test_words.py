"""One idea has one name: words that were given up for the field's terms occur nowhere, but for what is on disk.

The glossary (docs/reference/glossary.md) has the words that are used instead. What a store or a spec holds keeps its
name, so that old stores stay readable: such a name is a string that stands below, and nothing else.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for room in ("sweep", "cluster", "analysis", "relusweep", "bench", "chaos", "tests", "docs")
    for path in (ROOT / room).glob("**/*.py")
    if path != Path(__file__)  # which has to name them
)
OURS = [path for path in SOURCES if path.relative_to(ROOT).parts[0] not in ("tests", "docs")]
TEXTS = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "bench").glob("*.md"),
        *(ROOT / "slurm").rglob("*"),
    ]
    if path.suffix in (".md", ".toml", ".sbatch") and path.name != "token"
)

# A word that was given up, in all its forms: what is used instead.
EVERYWHERE = {
    r"laps(e|es|ed|ing)": "expire, of a lease",
    r"heirs?": "the worker that takes over",
    r"bur(y|ies|ied|ying)": "takeover; remove",
    r"mend(s|ed|ing)?": "repair; of a user's mistake: correct",
    r"exams?": "convergence check",
    r"pulses?": "heartbeat",
    r"harvests?": "results",
    r"stir(s|red|ring)?": "perturb",
    r"sheets?": "plotting, page",
    r"durable": "atomic",
    r"nobody|somebody('s)?": "no active worker; the user",
    r"alas": "nothing",
    r"in vain": "without effect",
    r"others' words": "what others recorded",
    r"(is|are|was|were)( now)? told": "sees, receives, is asked to",
}
# Words that keep another meaning elsewhere: only these folders gave them up.
SOMEWHERE = {
    ("sweep", "cluster", "relusweep", "slurm", "README.md", "CONTRIBUTING.md"): {r"claim(s|ed|ing)?": "lease"},
    ("cluster", "relusweep", "slurm", "bench", "README.md", "CONTRIBUTING.md"): {r"elements?": "array task"},
}
# Names of files, folders and keys on disk, and words of others: only as a whole string, or in `backticks` in a text.
ON_DISK = {"claims", "elements", "harvest", ".heir.tmp"}
# In a text the word may be named where it speaks of the name on disk.
_NAMED = re.compile(r"`[^`\n]*`")

# Words with which the docstring of a function that returns something must not begin: a noun or a relative is no verb.
NO_VERB = re.compile(
    r"(Give|Gives|Say|Says|Tell|Tells|Returns|Yields|The|A|An|Id|Ids|Key|Keys|What|Where|Whether|When|Which|Who"
    r"|Why|How|Those|These|That|This|All|Any|Both|Each|Every|No|None|Nothing|Mean|Median|Lowest|Highest|Largest"
    r"|Smallest|Least|Most|Top|Number|Default|Seconds|Bytes|Packs|Part|Parts|Row|Rows|Runs|State|States|Column"
    r"|Columns|File|Files|Folder|Path|Paths|Line|Lines|Text|Title|Version|Random|Gaussian|Value|Values|Weights)"
)


def words_of(path: Path) -> dict[str, str]:
    """Return the words that a file must not use, with what to use instead."""
    room = path.relative_to(ROOT).parts[0]
    return EVERYWHERE | {
        word: instead for rooms, words in SOMEWHERE.items() if room in rooms for word, instead in words.items()
    }


def written(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every identifier, comment and string of a source; names on disk are left out."""
    text = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NAME, tokenize.COMMENT):
            yield token.start[0], split(token.string)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in ON_DISK:
            yield node.lineno, split(_NAMED.sub("", node.value))


def split(text: str) -> str:
    """Return a text whose identifiers are taken apart: `ExamSteps`, `exam_steps` and `EXAM_STEPS` hold an exam."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text.replace("_", " "))


def faults(path: Path, lines: Iterator[tuple[int, str]]) -> list[str]:
    """Return where a file uses a word that was given up, and what to use instead."""
    words = words_of(path)
    any_of_them = re.compile(rf"(?<![\w/])({'|'.join(words)})(?![\w/])", flags=re.I)
    found = {(line, match[0]) for line, text in lines for match in any_of_them.finditer(text)}
    return [
        f"{path.relative_to(ROOT)}:{line}: {given!r}; expected: {instead}"
        for line, given in sorted(found)
        for word, instead in words.items()
        if re.fullmatch(word, given, flags=re.I)
    ]


def is_property(node: ast.FunctionDef) -> bool:
    """Return whether a function is read as an attribute: its docstring may be a noun."""
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def not_imperative(docstring: str) -> str:
    """Return what in a docstring's summary is no imperative, its first word or a later verb; empty if all is well."""
    summary = docstring.partition("\n\n")[0]
    first = re.match(r"[A-Z][a-z]+\b", summary)
    if first is None or NO_VERB.fullmatch(first[0]):
        return summary.split()[0]
    later = re.search(r"; (returns|yields|gives|tells|says)\b", summary)
    return later[0] if later else ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_uses_the_words_of_the_glossary(path: Path) -> None:
    found = faults(path, written(path))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_page_uses_the_words_of_the_glossary(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = faults(path, ((number, _NAMED.sub("", line)) for number, line in enumerate(text.splitlines(), 1)))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_named_by_a_word_of_the_glossary(path: Path) -> None:
    found = faults(path, iter([(0, split(path.stem)), (0, split(path.parent.name))]))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstring_of_what_returns_something_says_return(path: Path) -> None:
    begun = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}: {wrong!r}; expected: Return, Yield, or the verb of what it does"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (docstring := ast.get_docstring(node))
        if node.returns is not None and ast.unparse(node.returns) != "None" and not is_property(node)
        if (wrong := not_imperative(docstring))
    ]
    assert not begun, "\n".join(begun)


def test_docstring_without_a_verb_is_found() -> None:
    for docstring in (
        "Ids of runs.",
        "What it was.",
        "(1/n) Σ r².",
        "v ↦ A v.",
        "Give it.",
        "Merge; returns a number.",
    ):
        assert not_imperative(docstring), docstring
    for docstring in (
        "Return the ids.",
        "Yield; then stop.",
        "Merge; return a number.",
        "Whiten.",
        "Return x.\n\nIt; gives.",
    ):
        assert not not_imperative(docstring), docstring


def test_a_word_that_was_given_up_is_found_wherever_it_hides() -> None:
    path = ROOT / "cluster" / "worker.py"
    for text in ("EXAM_STEPS", "LapsedLease", "a pulse", "claimed_runs", "two elements", "In vain"):
        assert faults(path, iter([(1, split(text))])), text
    for text in ("example", "recommend", "reclaimed", "hair", "claims/", "convergence check", "spreadsheet"):
        assert not faults(path, iter([(1, split(text))])), text


def test_every_word_on_disk_is_still_there() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    assert {word for word in ON_DISK if f'{word}"' in sources} == ON_DISK
