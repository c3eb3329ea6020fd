"""Reads the project's own source: which modules there are, what colour they say they are, what they import.

Everything is found in the text by `ast`; nothing is imported, so a module that cannot be imported is judged as well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ca", "syncd")


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module or name, absolute and dotted: `from trio.abc import Stream` gives `trio.abc.Stream`."""

    target: str
    line: int
    at_top: bool  # false inside a function: paid for only when it is called

    @property
    def top_package(self) -> str:
        return self.target.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Module:
    name: str  # dotted; a package bears the name of its folder
    path: Path
    docstring: str | None
    imports: tuple[Import, ...]
    empty: bool  # nothing but, perhaps, a docstring

    @property
    def colour(self) -> str:
        """The first word of the docstring, which names the colour."""
        word = re.match(r"\w+", self.docstring or "")
        return word[0] if word else ""


def modules() -> dict[str, Module]:
    """Every module of the project by dotted name, sorted."""
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    found = (read_module(path) for path in paths)
    return {module.name: module for module in found}


def read_module(path: Path) -> Module:
    tree = ast.parse(path.read_bytes(), filename=str(path))
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    docstring = ast.get_docstring(tree)
    body = tree.body[1:] if docstring is not None else tree.body
    return Module(name, path, docstring, tuple(_imports(tree)), empty=not body)


def _imports(tree: ast.Module) -> Iterator[Import]:
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        at_top = id(node) not in lazy
        match node:
            case ast.Import():
                for alias in node.names:
                    yield Import(alias.name, node.lineno, at_top)
            case ast.ImportFrom(module=str(source), level=0) if source != "__future__":
                for alias in node.names:
                    yield Import(f"{source}.{alias.name}", node.lineno, at_top)
