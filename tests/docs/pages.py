"""The pages as tests read them: what they show, what of it is typed, and what an output has in common on all machines."""

import re
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from relusweep.cluster.progress import Snapshot, sentence

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for path in ROOT.rglob("*.md") if not {".venv", "results", "site", ".git"} & set(path.relative_to(ROOT).parts)
)
TYPED = [
    ROOT / "README.md",
    *(
        ROOT / "docs/tutorials" / f"{name}.md"
        for name in ("laptop", "notebook", "own_data", "own_target", "own_weights", "own_measure", "compare")
    ),
]
_FENCE = re.compile(r'^```(\w+)(?: title="(.*?)")?\n(.*?)^```$', flags=re.M | re.S)
_EXCUSE = re.compile(r"^<!-- not run here: (.+?) -->$", flags=re.M | re.S)


@dataclass
class Block:
    """What a page shows between fences, and the text that follows it if that is its output."""

    page: Path
    language: str
    content: str
    title: str | None = None
    output: str | None = None
    excuse: str | None = None  # why no test runs it, where the page says so above
    commands: dict[str, str] = field(default_factory=dict)  # of a console: what it shows of each


def name(page: Path) -> str:
    """Return what tests call a page."""
    return str(page.relative_to(ROOT))


def outputs(block: str, prompt: str) -> dict[str, str]:
    """Return what a block shows of each command."""
    return dict(re.findall(rf"^{prompt}(.*)\n((?:(?!{prompt}).*\n)*)", block, flags=re.M))


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order; an excuse holds from where it stands to the page's end."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, title, content = match.groups()
        excuses = _EXCUSE.findall(text[: match.start()])
        block = Block(page, language, content, title, excuse=excuses[-1] if excuses else None)
        if language == "console":
            block.commands = outputs(content, r"\$ ")
        after = _FENCE.match(text, match.end() + 2)
        if language == "python" and after and after[1] == "text":
            block.output = after[3]
        found.append(block)
    return found


def masked(line: str) -> str:
    """Return a line without its numbers and times, which differ from machine to machine, and without the device's name."""
    line = re.sub(r"\d+ (s|min|h)( \d+ (s|min))?( left|(?= if))", "<time>", line)
    line = re.sub(r"-?\d[\d.,]*(e[+-]\d+)?", "#", line)
    return " ".join(re.sub(r"(in a pack of # on) .*", r"\1 <device>", line).split())


def compared(shown: str) -> list[str]:
    """Return the lines of an output that are the same everywhere: how often progress is reported is up to the machine."""
    lines = [masked(line) for line in shown.splitlines() if " training on " not in line]
    return [line for line, _ in groupby(lines)]


def progress_lines() -> set[str]:
    """Return the forms that a line of progress may have."""
    forms = set()
    for compiling in (0, 1):
        moment = Snapshot(9, {"budget": 1}, {"budget": 1}, 7, 2, 1e5, 0, compiling)
        forms |= {masked(sentence(moment, seconds)) for seconds in (None, 5, 65)}
    return forms
