"""Pure. The patterns of ignore rules, so that no rule and no name can hold a device up.

A rule comes from any member, and so do the names it is compared with. What pathspec makes of `*a*a*a*b` is a regular
expression that tries every way to divide a name among the stars: of a name of 120 letters that takes longer than
anybody waits, and nothing else of Python runs meanwhile. Here each star but the last of its part takes as little as it
can and gives nothing back, and so does each `**` but the last. Nothing is missed by that: what comes behind a star fits
earlier or not at all, for the next star takes what lies between. Of the last `**` the rightmost place counts, as git
has it.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final, TypeAlias

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

Patterns: TypeAlias = GitIgnoreSpec

_TOKEN: Final = re.compile(
    r"""
    (?P<deep> \^\(\?:\.\+/\)\? | \(\?:/\.\+\)\?/ )    # a `**`, in front or between, with the slash behind it
  | (?P<slash> \^ | / )                               # where a part begins
  | (?P<end> \(\?:\(\?P<ps_d>/\)\|\$\) | \(\?P<ps_d>/\) )
  | (?P<star> \[\^/\]\* )
  | (?P<one> \[\^/\]\+? | \\. | [^\\\[\]()*+?.^$|{}] )
  | (?P<set> \[\^?\]?[^\]]*\] )
    """,
    re.VERBOSE | re.DOTALL,
)
_WHOLE: Final = frozenset({".", "/", "(?P<ps_d>/)"})
"""What pathspec has for rules that take everything, or everything in a directory."""
_ENDS: Final = "(?=/|$)"


def patterns_of(lines: list[str]) -> Patterns:
    """What these rules fit. The simplest of pathspec's engines is the only one that takes names which are no UTF-8.

    Raises ValueError for a rule that is none.
    """
    return GitIgnoreSpec.from_lines(lines, Pattern, backend="simple")


class Pattern(GitIgnoreSpecPattern):
    """A rule as pathspec reads it, by a regular expression that takes time by the length of a path."""

    __slots__ = ()

    @classmethod
    def pattern_to_regex(cls, pattern: str) -> tuple[str | None, bool | None]:  # type: ignore[override]
        """The expression, and whether what it fits is ignored. Raises ValueError for a rule that is none."""
        found, ignores = super().pattern_to_regex(pattern)
        return (None if found is None else patient(found)), ignores


def patient(regex: str) -> str:
    """An expression of pathspec's as one that fits the same paths and tries nothing twice. Raises ValueError."""
    if regex in _WHOLE:
        return regex
    blocks, end = _blocks(regex)
    written = []
    for number, (is_deep, parts) in enumerate(blocks):
        is_first, is_last = number == 0, number == len(blocks) - 1
        few = "" if is_last else "?"
        deep = f"(?:.+{few}/)?{few}" if is_first else f"(?:/.+{few})?{few}/"
        block = (deep if is_deep else "") + "/".join(map(_part, parts))
        written.append(block if is_last else f"(?>{block})")
    return "^" + "".join(written) + end


def _blocks(regex: str) -> tuple[list[tuple[bool, list[list[tuple[str, str]]]]], str]:
    """What stands between the `**`: whether one is before it, and its parts, each as tokens; and how it all ends."""
    blocks: list[tuple[bool, list[list[tuple[str, str]]]]] = []
    at, end = 0, ""
    while at < len(regex) and not end:
        found = _TOKEN.match(regex, at)
        if found is None or found.lastgroup is None:
            raise ValueError(f"a pattern that is not understood: {regex!r}")
        at, kind, text = found.end(), found.lastgroup, found.group()
        if kind == "end" or (text == "/" and at == len(regex)):
            end = text
        elif kind == "deep" or text == "^":
            blocks.append((kind == "deep", [[]]))
        elif kind == "slash" and blocks:
            blocks[-1][1].append([])
        elif blocks:
            blocks[-1][1][-1].append((kind, text))
    if at != len(regex) or not end or not blocks:
        raise ValueError(f"a pattern that is not understood: {regex!r}")
    return blocks, end


def _part(tokens: list[tuple[str, str]]) -> str:
    """One part of a path, between two slashes."""
    stars = [-1, *(index for index, (kind, _) in enumerate(tokens) if kind == "star"), len(tokens)]
    first, *others = [_fixed(tokens[before + 1 : after]) for before, after in pairwise(stars)]
    if not others:
        return f"{first}{_ENDS}"
    between = "".join(f"(?>[^/]*?{fixed})" for fixed in others[:-1] if fixed)
    return f"(?>{first}{between}[^/]*{others[-1]}{_ENDS})"


def _fixed(tokens: list[tuple[str, str]]) -> str:
    """Characters without a star among them; in brackets none stands for a slash, as in git."""
    return "".join(f"(?!/){text}" if kind == "set" else text for kind, text in tokens)
