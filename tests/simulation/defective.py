"""Blocking. The program with one deliberate defect (`defects.toml`), and how many seeds it takes until that is noticed.

The defect is an edit of the source in memory: an import hook compiles the file with other words in it. So this runs in
a process of its own, before anything of the program was imported: `python -m tests.simulation.defective NAME FIRST END`
prints the first seed whose story fails and why, or nothing.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
DEFECTS = Path(__file__).with_name("defects.toml")


@dataclass(frozen=True, slots=True)
class Edit:
    """In this file, `put` in the place of `find`."""

    file: str
    find: str
    put: str

    @property
    def module(self) -> str:
        return self.file.removesuffix(".py").replace("/", ".")

    def apply(self, text: str) -> str:
        assert text.count(self.find) == 1, f"{self.file} does not have exactly one place that reads {self.find!r}"
        return text.replace(self.find, self.put)


@dataclass(frozen=True, slots=True)
class Defect:
    """A mistake that somebody could make."""

    name: str
    edits: Sequence[Edit]
    troubles: frozenset[str] = frozenset()
    """Only stories with one of these troubles, or scenes, are told, or in which people `answer`; all, if there are
    none."""


def read_defects() -> dict[str, Defect]:
    """All of them, by name."""
    listed = tomllib.loads(DEFECTS.read_text())["defect"]
    return {
        one["name"]: Defect(one["name"], [Edit(**edit) for edit in one["edits"]], frozenset(one.get("troubles", ())))
        for one in listed
    }


class _Defective(importlib.machinery.SourceFileLoader):
    """Compiles a module from its edited source."""

    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> object:  # type: ignore[override]  # no cache: that holds the code without defect
        text = Path(self.path).read_text()
        for edit in self._edits:
            text = edit.apply(text)
        return compile(text, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, edits: Mapping[str, Sequence[Edit]]) -> None:
        self._edits = edits

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._edits:
            return None
        file = str(ROOT / self._edits[fullname][0].file)
        return importlib.util.spec_from_file_location(
            fullname, file, loader=_Defective(fullname, file, self._edits[fullname])
        )


def install(defect: Defect) -> None:
    """From now on modules are imported with this defect."""
    edits: dict[str, list[Edit]] = {}
    for edit in defect.edits:
        edits.setdefault(edit.module, []).append(edit)
    already = edits.keys() & sys.modules.keys()
    assert not already, f"imported already: {already}"
    sys.meta_path.insert(0, _Finder(edits))


def main(name: str, first: int, end: int) -> None:
    defect = read_defects()[name]
    install(defect)
    story = importlib.import_module("tests.simulation.story")
    for seed in range(first, end):
        troubles = {trouble.__name__ for trouble in story.troubles_of(seed)}
        scene = story.scene_of(seed)
        troubles |= set() if scene is None else {scene.__name__}
        troubles |= set() if story.measures_of(seed) is story.USUAL else {story.answer.__name__}
        if defect.troubles and not defect.troubles & troubles:
            continue
        outcome = story.run_seed(seed)
        if outcome.why:
            sys.stdout.write(json.dumps({"seed": seed, "why": reason(outcome.why)}) + "\n")
            return


def reason(why: str) -> str:
    """The line of a traceback that says what was noticed."""
    lines = [line.strip(" |") for line in why.splitlines()]
    return next((line for line in lines if line.startswith("AssertionError")), lines[-1])[:200]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
