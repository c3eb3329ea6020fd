"""Blocking. Removes guards from a copy of the tree, one at a time, and runs the tests that should miss them.

The list is `tests/mutants.toml`. A guard is a statement; removing it leaves `pass` in its place.
"""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import signal
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
LIST: Final = ROOT / "tests" / "mutants.toml"
COPIED: Final = ("ca", "syncd", "tests", "pyproject.toml", "docs")
TESTS_S: Final = 300.0
LIBRARIES: Final = ("trio.testing", "OpenSSL.SSL", "cryptography.x509", "h11", "pydantic")
BROKEN: Final = 1
"""Exit code of pytest when tests fail, and not when it cannot run any."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One line of the list."""

    file: str
    line: str
    """As it stands in the file."""
    number: int
    """Which of several equal ones, from 1."""
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.line}" + (f" #{self.number}" if self.number > 1 else "")


def guards() -> list[Guard]:
    """The whole list."""
    listed = tomllib.loads(LIST.read_text())
    return [_guard(file, text, tuple(one["tests"])) for file, one in listed.items() for text in one["guards"]]


def _guard(file: str, text: str, tests: tuple[str, ...]) -> Guard:
    line, mark, number = text.rpartition(" #")
    if mark and number.isdigit():
        return Guard(file, line, int(number), tests)
    return Guard(file, text, 1, tests)


def without(guard: Guard, source: str) -> str:
    """The source without the guard. Raises LookupError when it is not there."""
    lines = source.splitlines(keepends=True)
    found = [number for number, line in enumerate(lines, 1) if line.strip() == guard.line]
    if len(found) < guard.number:
        raise LookupError(f"{guard} is not there any more: bring tests/mutants.toml up to date")
    start = found[guard.number - 1]
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt) and node.lineno == start]
    if not statements:
        raise LookupError(f"{guard} is no statement")
    end = statements[0].end_lineno or start
    indent = lines[start - 1][: len(lines[start - 1]) - len(lines[start - 1].lstrip())]
    return "".join([*lines[: start - 1], f"{indent}pass\n", *lines[end:]])


class Copy:
    """A copy of the tree in which guards can be missing."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, place / name)

    def is_missed(self, guard: Guard) -> bool:
        """Whether a test breaks without the guard."""
        file = self.place / guard.file
        source = file.read_text()
        file.write_text(without(guard, source))
        try:
            code = self.run(guard.tests)
        finally:
            file.write_text(source)
        if code not in (0, BROKEN):
            raise RuntimeError(f"pytest could not run without {guard}: exit code {code}")
        return code == BROKEN

    def run(self, tests: tuple[str, ...]) -> int:
        """The exit code of pytest; of tests that hang, the code for broken ones.

        In a fork of this process, which has the libraries in memory and nothing of the tree: that halves the time.
        """
        for library in LIBRARIES:
            importlib.import_module(library)
        child = os.fork()
        if child == 0:
            _test_here(self.place, tests)
        give_up_at = time.monotonic() + TESTS_S
        while time.monotonic() < give_up_at:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return BROKEN


def _test_here(place: Path, tests: tuple[str, ...]) -> NoReturn:
    """In the child: run pytest in the copy of the tree, silently, and end."""
    code = 3
    try:
        silence = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(silence, descriptor)
        os.chdir(place)
        sys.path.insert(0, str(place))
        sys.dont_write_bytecode = True
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "ca", "syncd")]:
            del sys.modules[name]
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]))
    finally:
        os._exit(code)


def suites(chosen: list[Guard]) -> Iterator[tuple[str, ...]]:
    """The tests of some guards, each set once."""
    yield from dict.fromkeys(guard.tests for guard in chosen)
