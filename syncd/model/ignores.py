"""Pure. Which paths of a folder are not synced: the rules of `.syncdignore`, which all members share, and those of
`.syncd/ignore`, which are this device's own; both written as in a .gitignore, and with conditions (`conditions`).

As git documents it, nothing below an ignored directory can be taken back by a later `!` rule. A rule that cannot be
understood is reported and left out; the others hold. `.syncd` is always ignored, in every spelling and at every depth.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Final

from ca.values import dataclass
from syncd.model.conditions import Age, Condition, Facts, all_hold, has_conditions, parse_conditions
from syncd.model.paths import RESERVED_NAME, Path, is_reserved, show

if TYPE_CHECKING:
    from syncd.model.patterns import Patterns  # loaded only where there are rules: most folders have none

SHARED_NAME: Final = b".syncdignore"
"""At the root of a folder, and synced like any file: no rule leaves it out, so that every member can take one back."""

# Stands for a newline within a name, which no rule can contain and which `.` and `$` would treat differently. No byte
# decodes to this one.
_NEWLINE: Final = "\udc0a"
_DOT: Final = RESERVED_NAME[0]


@dataclass(frozen=True, slots=True)
class Asking:
    """A rule with conditions. `where`: the pattern behind them, if there is one."""

    line: int
    """Which of the rules it is."""
    takes_back: bool
    conditions: tuple[Condition, ...]
    where: Patterns | None

    def holds(self, text: str, name: bytes, facts: Facts, now_ns: int) -> bool:
        """Whether it says something about a file; `text`: its path as rules see it."""
        if not all_hold(self.conditions, name, facts, now_ns):
            return False
        return self.where is None or self.where.match_file(text)


def never_synced(path: Path, is_directory: bool = False, facts: Facts | None = None) -> bool:
    """What holds without any rule: names of syncd's own."""
    for name in path:  # noqa: SIM110 - `any` would make a generator for each of many names
        # A test of one byte for almost every name: every other spelling begins with something that is not ASCII.
        if (name[0] == _DOT or name[0] >= 0x80) and is_reserved(name):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Ignores:
    """Parsed rules. `problems`: one line of text for every rule that was left out."""

    lines: tuple[str, ...] = ()
    """The rules that hold."""
    problems: tuple[str, ...] = ()
    spec: Patterns | None = field(default=None, compare=False, repr=False)
    """Those that ask for nothing but names."""
    places: tuple[int, ...] = field(default=(), compare=False, repr=False)
    """Which of `lines` each pattern of `spec` is."""
    asking: tuple[Asking, ...] = field(default=(), compare=False, repr=False)

    def match(self, path: Path, is_directory: bool, facts: Facts | None = None, now_ns: int = 0) -> bool:
        """Whether to ignore this path, because of itself or of a directory that it is in. `facts`: of a file."""
        if never_synced(path, is_directory, facts):
            return True
        if not self.lines or path == (SHARED_NAME,):
            return False
        if self.asking and facts is not None:
            return self.rule(path, is_directory, facts, now_ns) is not None
        return self.spec is not None and any(
            self.spec.match_file(text) for text in _with_directories(path, is_directory)
        )

    @property
    def asks_for_age(self) -> bool:
        """Whether what these say depends on the clock."""
        return any(isinstance(one, Age) for asking in self.asking for one in asking.conditions)

    def at(self, now_ns: int) -> Callable[[Path, bool, Facts | None], bool]:
        """`match` as of a moment; `never_synced` itself where there are no rules."""
        if not self.lines:
            return never_synced

        def match(path: Path, is_directory: bool, facts: Facts | None) -> bool:
            return self.match(path, is_directory, facts, now_ns)

        return match

    def and_own(self, own: Ignores) -> Ignores:
        """These rules, which all members share, and then this device's own, which may take one back with `!`."""
        problems = tuple(f"{SHARED_NAME.decode()}: {problem}" for problem in self.problems)
        return _ignores((*self.lines, *own.lines), (*problems, *own.problems))

    def rule(self, path: Path, is_directory: bool, facts: Facts | None = None, now_ns: int = 0) -> str | None:
        """The line because of which `match` says yes; None where there is none. As in a .gitignore, the last one that
        says something about a path decides, and of a directory that is ignored everything is."""
        if not self.lines or path == (SHARED_NAME,):
            return None
        *above, text = _with_directories(path, is_directory)
        for directory in above:
            line, ignores = self._by_name(directory)
            if ignores:
                return self.lines[line]
        line, ignores = self._by_name(text)
        for asking in reversed(self.asking if facts is not None else ()):
            if asking.line < line:
                break
            if facts is not None and asking.holds(text, path[-1], facts, now_ns):
                line, ignores = asking.line, not asking.takes_back
                break
        return self.lines[line] if ignores else None

    def _by_name(self, text: str) -> tuple[int, bool]:
        """Which line decides by the name alone (-1: none), and whether it says to ignore it."""
        checked = None if self.spec is None else self.spec.check_file(text)
        if checked is None or checked.index is None:
            return -1, False
        return self.places[checked.index], bool(checked.include)


def _with_directories(path: Path, is_directory: bool) -> Iterator[str]:
    """A path as rules see it, after every directory that it is in."""
    text = b"/".join(path).decode("utf-8", "surrogateescape").replace("\n", _NEWLINE)
    end = text.find("/")
    while end >= 0:
        yield text[: end + 1]
        end = text.find("/", end + 1)
    yield text + "/" if is_directory else text


def parse_ignores(rules: bytes) -> Ignores:
    """The rules of an ignore file, one per line."""
    lines: list[str] = []
    problems: list[str] = []
    for number, raw in enumerate(rules.split(b"\n"), start=1):
        line = raw.removesuffix(b"\r").decode("utf-8", "surrogateescape")
        if not line.strip() or line.startswith("#"):
            continue
        if _is_understood(line):
            lines.append(line)
        else:
            problems.append(f"line {number}: {show(raw)}")
    return _ignores(tuple(lines), tuple(problems))


def _ignores(lines: tuple[str, ...], problems: tuple[str, ...]) -> Ignores:
    """From lines that are understood."""
    places = tuple(index for index, line in enumerate(lines) if not has_conditions(line))
    asking = tuple(_asking(index, line) for index, line in enumerate(lines) if has_conditions(line))
    return Ignores(lines, problems, _spec([lines[place] for place in places]) if places else None, places, asking)


def _asking(index: int, line: str) -> Asking:
    conditions, pattern = parse_conditions(line.removeprefix("!"))
    return Asking(index, line.startswith("!"), conditions, _spec([pattern]) if pattern.strip() else None)


def _is_understood(line: str) -> bool:
    if has_conditions(line):
        try:
            _, line = parse_conditions(line.removeprefix("!"))
        except ValueError:
            return False
        if not line.strip():
            return True
        if line.startswith("!"):
            return False  # what takes a rule back stands before the conditions
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # character classes that Python's re reads otherwise than git
        try:
            spec = _spec([line])
        except (ValueError, re.error, FutureWarning):
            return False
    return all(pattern.include is not None for pattern in spec.patterns)


def _spec(lines: list[str]) -> Patterns:
    from syncd.model.patterns import patterns_of

    return patterns_of(lines)


NO_IGNORES: Final = parse_ignores(b"")
