"""Sources: what the files hold that a spec names, data, code and weights, each read once, when the spec is."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relusweep.sweep import contents, data_file, extra, offers, own_code, trust, weights_file
from relusweep.sweep.arguments import gathered
from relusweep.sweep.contents import POINTS
from relusweep.sweep.data import PROBLEMS
from relusweep.sweep.images import MNIST, SPLIT, other_content
from relusweep.sweep.run import NAMES, NAMES_OF_CODE, NAMES_OF_DATA
from relusweep.sweep.weights_file import WEIGHTS

Named = tuple[str, str | None, str | None]  # file, x_columns, y_column: as `run.NAMES_OF_DATA`
KEYS = ("problem", "split", "init", *NAMES)  # parameters that say what has to be looked up


@dataclass(frozen=True)
class Found:
    """What the names in a block stand for: of data, images, functions and weights; and which problems are of packages.

    Of images None, where they are those of MNIST.
    """

    contents: Mapping[Named, str] = field(default_factory=dict)
    images: Mapping[str, str | None] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    offered: frozenset[str] = frozenset()

    def complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a run with what its names stand for, and its arguments in their one text.

        Raises:
            ValueError: if something else is given, in words that name the cure.
        """
        values = gathered(offers.as_python(values, self.offered) if self.offered else values)
        file, x_columns, y_column = map(values.get, NAMES_OF_DATA)
        found = {"content": (file, self.contents.get((file, x_columns, y_column)) if file else None)}
        if values.get("problem") == "mnist":
            found["content"] = ("the folder of images", self.images.get(values.get("split") or SPLIT))
        for key in NAMES_OF_CODE:
            name = values.get(key)
            found[f"{key}_source"] = (name, self.code.get(name) if name else None)
        if values.get("init") == "file":
            found["init_content"] = (name := values.get("init_file"), self.weights.get(name) if name else None)
        for key, (name, source) in found.items():
            if source and values.setdefault(key, source) != source:
                raise ValueError(f"{key} = {values[key]!r}; {name} holds {source!r}. Leave {key} out.")
        return values


class Sources:
    """The contents of files by their names. In a store they are those that it keeps, wherever the files are."""

    def __init__(self, folder: Path) -> None:
        """Look nowhere yet.

        Args:
            folder: That of the spec, to which names are relative.
        """
        self.folder = folder
        self.contents: dict[Named, str] = {}
        self.images: dict[str, str | None] = {}  # by split
        self.code: dict[str, str] = {}  # sources, by the names of functions
        self.weights: dict[str, str] = {}
        self.chosen: set[str] = set()  # contents of code that comes from no store: whoever runs the spec chose it
        self._is_store = any((folder / name).exists() for name in ("store.json", "planned.ids", "claims"))
        self._kept = {
            (each["file"], each["x_columns"], each["y_column"]): each["content"] for each in contents.names(folder)
        }
        self._offered: frozenset[str] | None = None

    def look_up(self, settings: Iterable[tuple[Any, ...]]) -> Found:
        """Return what the names stand for that occur in settings of `KEYS`.

        Raises:
            DataError: for the first file that cannot be read.
        """
        data: dict[Named, str] = {}
        images: dict[str, str | None] = {}
        code: dict[str, str] = {}
        weights: dict[str, str] = {}
        offered: set[str] = set()
        for setting in settings:
            values = dict(zip(KEYS, setting, strict=True))
            if isinstance(values["problem"], str) and values["problem"] not in PROBLEMS:
                offered |= self._offers(values["problem"])
                given = {key: value for key, value in values.items() if value is not None}
                values |= offers.as_python({key: given[key] for key in given if key != "target"}, offered)
            if values["problem"] == "file" and values["file"]:
                named = (values["file"], values["x_columns"], values["y_column"])
                data[named] = self._content(*named)
            if values["problem"] == "mnist":
                split = values["split"] or SPLIT
                images[split] = self._images(split)
            for name in map(values.get, NAMES_OF_CODE):
                if values["problem"] == "python" and name:
                    code[name] = self._source(name)
            if values["init"] == "file" and (name := values["init_file"]):
                weights[name] = self._weights(name)
        return Found(data, images, code, weights, frozenset(offered))

    def _content(self, file: str, x_columns: str | None, y_column: str | None) -> str:
        named = (file, x_columns, y_column)
        if named not in self.contents:
            content = self._kept.get(named)
            if content:
                contents.look_in(self.folder)
            self.contents[named] = content or POINTS.remember(data_file.read(self.folder / file, x_columns, y_column))
        return self.contents[named]

    def _images(self, split: str) -> str | None:
        if split not in self.images:
            kept = contents.images(self.folder, split)
            self.images[split] = (kept if kept != MNIST[split] else None) if self._is_store else other_content(split)
        return self.images[split]

    def _weights(self, name: str) -> str:
        if name not in self.weights:
            content = self._kept.get((contents.weights_name(name), None, None))
            if content:
                contents.look_in(self.folder)
                WEIGHTS.find(content, name)  # what a spec leaves out is taken from them
            self.weights[name] = content or WEIGHTS.remember(weights_file.read(self.folder / name))
        return self.weights[name]

    def of_measures(self, names: Iterable[str]) -> dict[str, str]:
        """Return the sources of those that are functions of the user's.

        Raises:
            DataError: for the first file that cannot be read.
        """
        return {name: self._source(name) for name in names if extra.is_own(name)}

    def _source(self, name: str) -> str:
        if name not in self.code:
            source = self._kept.get((name, None, None))
            if source:
                contents.look_in(self.folder)
            else:
                source = own_code.source_of(name, self.folder)
                if not self._is_store:
                    self.chosen.add(own_code.content_in(source))
            self.code[name] = source
        return self.code[name]

    def _offers(self, problem: str) -> frozenset[str]:
        """Return of a problem and its input law those names that are offered, or that the store keeps."""
        if self._offered is None:
            self._offered = frozenset(offers.offered()) | {file for file, *_ in self._kept}
        return self._offered & {problem, problem + offers.LAW}

    def permit_code(self, place: str) -> None:
        """Let this process run the code that the spec names.

        Args:
            place: What a refusal calls the spec.

        Raises:
            TrustError: if some of it comes from a store, and has not been run before.
        """
        trust.permit(self.chosen)
        for name, source in self.code.items():
            trust.refuse(content := own_code.content_in(source), f"{place}: {name} (files/{content}.py)")

    def take_code(self) -> None:
        """Let this process, and later ones, run the code that the spec names: its user has read it."""
        trust.take(map(own_code.content_in, self.code.values()))

    @property
    def digest(self) -> bytes:
        """Return the hash of all names and contents; nothing if there are none."""
        others = {split: content for split, content in self.images.items() if content}
        named = (self.contents, others, self.code, self.weights) if others else (self.contents, self.code, self.weights)
        if not any(named):
            return b""
        return hashlib.blake2b(json.dumps([sorted(map(repr, found.items())) for found in named]).encode()).digest()
