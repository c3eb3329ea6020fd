"""Patterns of ignore rules fit what pathspec's own fit, and neither a rule nor a name can make them take long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec
from pathspec.pattern import RegexMatchResult

from syncd.model.ignores import parse_ignores
from syncd.model.patterns import patient, patterns_of

PATIENCE_S = 1.0
"""Of the processor; what pathspec itself makes of these takes from some seconds to more than a life."""

PARTS = st.sampled_from(["**", "*", "a*", "*a", "*a*b", "*a*b*", "?b", "*?", "[ab]", "[!a]*", "a**b", "***", r"\*"])
RULES = st.tuples(st.sampled_from(["", "/", "!"]), st.lists(PARTS, min_size=1, max_size=5), st.sampled_from(["", "/"]))
NAMES = st.text("abc*.", min_size=1, max_size=5)
PATHS = st.tuples(st.lists(NAMES, min_size=1, max_size=6).map("/".join), st.sampled_from(["", "/"])).map("".join)


def marks(found: RegexMatchResult | None) -> str | None:
    """Whether a path fits, and whether only a directory that it is in does."""
    return None if found is None else found.match.groupdict().get("ps_d") or "fits"


@given(RULES, st.lists(PATHS, max_size=8))
def test_they_fit_what_pathspec_fits(rule: tuple[str, list[str], str], paths: list[str]) -> None:
    before, parts, after = rule
    line = before + "/".join(parts) + after
    (plain,) = GitIgnoreSpec.from_lines([line], backend="simple").patterns
    (ours,) = patterns_of([line]).patterns
    assert ours.include is plain.include
    assert [marks(ours.match_file(path)) for path in paths] == [marks(plain.match_file(path)) for path in paths]


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        (b"*a*a*a*a*a*b", [b"a" * 120]),
        (b"*?" * 12 + b"b", [b"a" * 255]),
        (b"a*" * 100 + b"/**/" + b"[!x]*" * 50 + b"z", [b"a" * 255] * 20),
        (b"**/*a/" * 5 + b"b", [b"a"] * 200),
        (b"*a*/" * 20 + b"**/*b*/c", [b"a" * 255] * 20),
        (b"size>0 *a*a*a*a*a*b", [b"a" * 120]),
    ],
)
def test_no_rule_takes_long_with_any_name(rule: bytes, path: list[bytes]) -> None:
    """A rule that a member wrote held up whole daemons of others: they answered no command, not even `stop`."""
    began = time.process_time()
    rules = parse_ignores(rule + b"\n")
    assert rules.lines and not rules.match(tuple(path), False)
    assert rules.rule(tuple(path), False) is None
    assert time.process_time() - began < PATIENCE_S


def test_nothing_in_brackets_stands_for_a_slash() -> None:
    """As git has it; pathspec takes one."""
    assert not parse_ignores(b"/a[!b]c\n").match((b"a", b"c"), False)
    assert parse_ignores(b"/a[!b]c\n").match((b"axc",), False)


@pytest.mark.parametrize("regex", ["^a(b)(?:(?P<ps_d>/)|$)", "^a", "a/", "^(?:.*/)?a(?:(?P<ps_d>/)|$)", "", "^a/b|c/"])
def test_expression_of_another_pathspec_is_refused(regex: str) -> None:
    with pytest.raises(ValueError, match="not understood"):
        patient(regex)
