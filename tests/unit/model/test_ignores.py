from __future__ import annotations

import pytest

from syncd.model.ignores import NO_IGNORES, parse_ignores

RULES = parse_ignores(b"# build results\n\n*.o\n/dist\nbuild/\n!keep.o\nfoo\n\xff*\r\ndocs/**/draft.md\n")


@pytest.mark.parametrize(
    ("path", "is_directory", "ignored"),
    [
        (b"a.o", False, True),
        (b"deep/down/a.o", False, True),
        (b"keep.o", False, False),
        (b"dist", False, True),
        (b"sub/dist", False, False),
        (b"build", True, True),
        (b"build", False, False),
        (b"build/keep.o", False, True),
        (b"src/build/x", False, True),
        (b"foo\n", False, False),
        (b"line\nbreak/foo", False, True),
        (b"\xff\xfe", False, True),
        (b"docs/a/b/draft.md", False, True),
        (b"docs/final.md", False, False),
    ],
)
def test_rules_hold_as_git_documents_them(path: bytes, is_directory: bool, ignored: bool) -> None:
    assert RULES.match(tuple(path.split(b"/")), is_directory) is ignored


@pytest.mark.parametrize("path", [b".syncd", b".syncd/old/x", b"sub/.SYNCD", ".syn\u200dcd".encode()])
def test_the_reserved_name_is_always_ignored(path: bytes) -> None:
    assert NO_IGNORES.match(tuple(path.split(b"/")), False)
    assert parse_ignores(b"!.syncd\n").match(tuple(path.split(b"/")), False)


def test_without_rules_nothing_else_is_ignored() -> None:
    assert not NO_IGNORES.match((b"a", b"b.o"), False)
    assert not NO_IGNORES.match((), True)


def test_rules_that_cannot_be_understood_are_reported_and_the_others_hold() -> None:
    rules = parse_ignores(b"*.o\n[[:alpha:]]\na[z-a]\n\\\n[\n!\n*.tmp\n")
    assert rules.problems == ("line 2: [[:alpha:]]", "line 3: a[z-a]", r"line 4: \\", "line 5: [", "line 6: !")
    assert rules.match((b"x.o",), False)
    assert rules.match((b"x.tmp",), False)


def test_rule_that_decides_is_named() -> None:
    assert RULES.rule((b"main.o",), False) == "*.o"
    assert RULES.rule((b"build", b"deep", b"file"), False) == "build/"
    assert RULES.rule((b"keep.o",), False) is None
    assert RULES.rule((b"build",), False) is None
    assert RULES.rule((b"build",), True) == "build/"
