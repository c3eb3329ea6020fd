"""Blocking. Removes guards from a copy of the tree, one at a time, and runs the tests that should miss them.

The list is `tests/mutants.toml`. A guard is a statement; removing it leaves `pass` in its place. Which tests come by it
at all is looked up once, and these are run first: all of its tests only if none of them breaks.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import tomllib
from collections import defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
LIST: Final = ROOT / "tests" / "mutants.toml"
COPIED: Final = ("ca", "syncd", "tests", "pyproject.toml", "docs")
TESTS_S: Final = 300.0
LIBRARIES: Final = ("trio.testing", "OpenSSL.SSL", "cryptography.x509", "h11", "pydantic")
LIKELY: Final = 12
"""So many of the tests that come by a guard are run before all others."""
BROKEN: Final = 1
FELL_OVER: Final = 3
"""Exit codes of pytest: a test failed; pytest itself fell over what came of it, as over a task that never ends."""
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


def doubled() -> list[tuple[Guard, str]]:
    """The guards that nobody misses alone, each with what refuses the same."""
    listed = tomllib.loads(LIST.read_text())
    return [(_guard(file, line, ()), other) for file, one in listed.items() for line, other in one.get("doubled", [])]


def _guard(file: str, text: str, tests: tuple[str, ...]) -> Guard:
    line, mark, number = text.rpartition(" #")
    if mark and number.isdigit():
        return Guard(file, line, int(number), tests)
    return Guard(file, text, 1, tests)


def without(guard: Guard, source: str) -> str:
    """The source without the guard. Raises LookupError when it is not there."""
    lines = source.splitlines(keepends=True)
    start, end = lines_of(guard, source)
    indent = lines[start - 1][: len(lines[start - 1]) - len(lines[start - 1].lstrip())]
    return "".join([*lines[: start - 1], f"{indent}pass\n", *lines[end:]])


def lines_of(guard: Guard, source: str) -> tuple[int, int]:
    """The first and the last line of the guard. Raises LookupError when it is not there."""
    lines = source.splitlines()
    found = [number for number, line in enumerate(lines, 1) if line.strip() == guard.line]
    if len(found) < guard.number:
        raise LookupError(f"{guard} is not there any more: bring tests/mutants.toml up to date")
    start = found[guard.number - 1]
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt) and node.lineno == start]
    if not statements:
        raise LookupError(f"{guard} is no statement")
    return start, statements[0].end_lineno or start


class Copy:
    """A copy of the tree in which guards can be missing."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._met: dict[tuple[str, tuple[str, ...]], dict[int, list[str]]] = {}
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
        start, end = lines_of(guard, source)
        met = self._tests_by_line(guard.file, guard.tests)
        likely = tuple(dict.fromkeys(test for line in range(start, end + 1) for test in met.get(line, ())))[:LIKELY]
        file.write_text(without(guard, source))
        try:
            code = self.run(likely) if likely else 0
            if code == 0:
                code = self.run(guard.tests)
        finally:
            file.write_text(source)
        if code not in (0, BROKEN, FELL_OVER):
            raise RuntimeError(f"pytest could not run without {guard}: exit code {code}")
        return code != 0

    def _tests_by_line(self, file: str, tests: tuple[str, ...]) -> dict[int, list[str]]:
        """Which of these tests come by the lines of a file, in the order of their running."""
        if (file, tests) not in self._met:
            notes = self.place / "met.json"
            notes.unlink(missing_ok=True)
            self.run(tests, _Watch(str(self.place / file), notes))
            found = json.loads(notes.read_text()) if notes.exists() else {}
            self._met[file, tests] = {int(line): names for line, names in found.items()}
        return self._met[file, tests]

    def run(self, tests: tuple[str, ...], watch: _Watch | None = None) -> int:
        """The exit code of pytest; of tests that hang, the code for broken ones.

        In a fork of this process, which has the libraries in memory and nothing of the tree: that halves the time.
        """
        for library in LIBRARIES:
            importlib.import_module(library)
        child = os.fork()
        if child == 0:
            _test_here(self.place, tests, watch)
        give_up_at = time.monotonic() + TESTS_S
        while time.monotonic() < give_up_at:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return BROKEN


class _Watch:
    """A plugin of pytest that notes which test comes by which lines of a file."""

    def __init__(self, file: str, notes: Path) -> None:
        self._file = file
        self._notes = notes
        self._met: dict[int, dict[str, None]] = defaultdict(dict)
        self._test = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        self._test = item.nodeid
        sys.settrace(self._enter)
        threading.settrace(self._enter)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)

    def pytest_sessionfinish(self) -> None:
        self._notes.write_text(json.dumps({line: list(names) for line, names in self._met.items()}))

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._step if frame.f_code.co_filename == self._file else None

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._met[frame.f_lineno][self._test] = None
        return self._step


def _test_here(place: Path, tests: tuple[str, ...], watch: _Watch | None) -> NoReturn:
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
        stops = ["-x"] if watch is None else []
        options = [*stops, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
        code = int(pytest.main(options, plugins=[] if watch is None else [watch]))
    finally:
        os._exit(code)


def suites(chosen: list[Guard]) -> Iterator[tuple[str, ...]]:
    """The tests of some guards, each set once."""
    yield from dict.fromkeys(guard.tests for guard in chosen)
