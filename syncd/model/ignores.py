"""Pure. Which paths of a folder are not synced: the rules of `.syncdignore`, which all members share, and those of
`.syncd/ignore`, which are this device's own; both written as in a .gitignore.

As git documents it, nothing below an ignored directory can be taken back by a later `!` rule. A rule that cannot be
understood is reported and left out; the others hold. `.syncd` is always ignored, in every spelling and at every depth.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from syncd.model.paths import RESERVED_NAME, Path, is_reserved, show

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec  # loaded only where there are rules: most folders have none

SHARED_NAME: Final = b".syncdignore"
"""At the root of a folder, and synced like any file: no rule leaves it out, so that every member can take one back."""

# Stands for a newline within a name, which no rule can contain and which `.` and `$` would treat differently. No byte
# decodes to this one.
_NEWLINE: Final = "\udc0a"
_DOT: Final = RESERVED_NAME[0]


@dataclass(frozen=True, slots=True)
class Ignores:
    """Parsed rules. `problems`: one line of text for every rule that was left out."""

    spec: GitIgnoreSpec | None = None
    problems: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    """The rules that hold, one for each pattern of `spec`."""

    def match(self, path: Path, is_directory: bool) -> bool:
        """Whether to ignore this path, because of itself or of a directory that it is in."""
        for name in path:
            # A test of one byte for almost every name: every other spelling begins with something that is not ASCII.
            if (name[0] == _DOT or name[0] >= 0x80) and is_reserved(name):
                return True
        if self.spec is None or path == (SHARED_NAME,):
            return False
        return any(self.spec.match_file(text) for text in _with_directories(path, is_directory))

    def and_own(self, own: Ignores) -> Ignores:
        """These rules, which all members share, and then this device's own, which may take one back with `!`."""
        lines = (*self.lines, *own.lines)
        problems = tuple(f"{SHARED_NAME.decode()}: {problem}" for problem in self.problems)
        return Ignores(_spec(list(lines)) if lines else None, (*problems, *own.problems), lines)

    def rule(self, path: Path, is_directory: bool) -> str | None:
        """The line of the ignore file because of which `match` says yes; None where there is none."""
        if self.spec is None:
            return None
        for text in _with_directories(path, is_directory):
            checked = self.spec.check_file(text)
            if checked.include and checked.index is not None:
                return self.lines[checked.index]
        return None


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
    patterns: list[str] = []
    problems: list[str] = []
    for number, raw in enumerate(rules.split(b"\n"), start=1):
        line = raw.removesuffix(b"\r").decode("utf-8", "surrogateescape")
        if not line.strip() or line.startswith("#"):
            continue
        if _is_understood(line):
            patterns.append(line)
        else:
            problems.append(f"line {number}: {show(raw)}")
    return Ignores(_spec(patterns) if patterns else None, tuple(problems), tuple(patterns))


def _is_understood(line: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # character classes that Python's re reads otherwise than git
        try:
            spec = _spec([line])
        except (ValueError, re.error, FutureWarning):
            return False
    return all(pattern.include is not None for pattern in spec.patterns)


def _spec(lines: list[str]) -> GitIgnoreSpec:
    """The simplest of pathspec's engines is the only one that takes names which are no UTF-8."""
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines, backend="simple")


NO_IGNORES: Final = parse_ignores(b"")
