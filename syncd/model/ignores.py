"""Pure. Which paths of a folder stay on this device: the rules of `.syncd/ignore`, written as in a .gitignore.

As git documents it, nothing below an ignored directory can be taken back by a later `!` rule. A rule that cannot be
understood is reported and left out; the others hold. `.syncd` is always ignored, in every spelling and at every depth.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pathspec import GitIgnoreSpec

from syncd.model.paths import Path, is_reserved, show

# Stands for a newline within a name, which no rule can contain and which `.` and `$` would treat differently. No byte
# decodes to this one.
_NEWLINE: Final = "\udc0a"


@dataclass(frozen=True, slots=True)
class Ignores:
    """Parsed rules. `problems`: one line of text for every rule that was left out."""

    spec: GitIgnoreSpec
    problems: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    """The rules that hold, one for each pattern of `spec`."""

    def match(self, path: Path, is_directory: bool) -> bool:
        """Whether to ignore this path, because of itself or of a directory that it is in."""
        if any(is_reserved(name) for name in path):
            return True
        if not self.spec.patterns:
            return False
        return any(self.spec.match_file(text) for text in _with_directories(path, is_directory))

    def rule(self, path: Path, is_directory: bool) -> str | None:
        """The line of the ignore file because of which `match` says yes; None where there is none."""
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
    # The simplest of pathspec's engines is the only one that takes names which are no UTF-8.
    return Ignores(GitIgnoreSpec.from_lines(patterns, backend="simple"), tuple(problems), tuple(patterns))


def _is_understood(line: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # character classes that Python's re reads otherwise than git
        try:
            spec = GitIgnoreSpec.from_lines([line], backend="simple")
        except (ValueError, re.error, FutureWarning):
            return False
    return all(pattern.include is not None for pattern in spec.patterns)


NO_IGNORES: Final = parse_ignores(b"")
