from __future__ import annotations

import pytest

from syncd.model.conditions import ENDINGS, Facts
from syncd.model.ignores import parse_ignores

NOW_NS = 2_000_000_000 * 1_000_000_000
DAY_NS = 24 * 3_600 * 1_000_000_000
MB = 1 << 20


def asked(rules: bytes, path: bytes, size: int = 1, days: float = 0, *, has_entered: bool = False) -> bool:
    facts = Facts(size, NOW_NS - int(days * DAY_NS), has_entered)
    return parse_ignores(rules).match(tuple(path.split(b"/")), False, facts, NOW_NS)


@pytest.mark.parametrize(
    ("rule", "size", "ignored"),
    [
        (b"size>50M", 50 * MB, False),
        (b"size>50M", 50 * MB + 1, True),
        (b"size>1.5K", 1537, True),
        (b"size>1.5K", 1536, False),
        (b"size>50MiB", 51 * MB, True),
        (b"size<10", 9, True),
        (b"size<10", 10, False),
        (b"size>0", 0, False),
    ],
)
def test_size(rule: bytes, size: int, ignored: bool) -> None:
    assert asked(rule, b"dir/film.mkv", size) is ignored


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        (b"film.mkv", True),
        (b"sub/FILM.MKV", True),
        (b"film.mkv.txt", False),
        (b"mkv", False),
        (b".mkv", False),
        (b"film.ts", False),
    ],
)
def test_type(path: bytes, ignored: bool) -> None:
    assert asked(b"type:video", path) is ignored


@pytest.mark.parametrize(
    ("rule", "days", "ignored"),
    [
        (b"age>1y", 365, False),
        (b"age>1y", 366, True),
        (b"age>2w", 15, True),
        (b"age>90d", 89, False),
        (b"age>36h", 2, True),
        (b"age>1d", -400, False),
    ],
)
def test_age(rule: bytes, days: float, ignored: bool) -> None:
    assert asked(rule, b"letter", days=days) is ignored
    assert not asked(rule, b"letter", days=days, has_entered=True)


def test_all_conditions_of_a_rule_must_hold_and_so_must_its_place() -> None:
    rule = b"type:video size>1K age>1d /camera/ of anna/\n"
    assert asked(rule, b"camera/ of anna/deep/a.mov", 2000, 2)
    assert not asked(rule, b"camera/ of anna/deep/a.mov", 20, 2)
    assert not asked(rule, b"camera/ of anna/deep/a.mov", 2000, 0)
    assert not asked(rule, b"camera/ of anna/deep/a.txt", 2000, 2)
    assert not asked(rule, b"elsewhere/a.mov", 2000, 2)


def test_last_rule_that_says_something_decides() -> None:
    assert asked(b"!*.iso\nsize>1K\n", b"a.iso", 2000)
    assert not asked(b"size>1K\n!*.iso\n", b"a.iso", 2000)
    assert not asked(b"*.iso\n!size<10\n", b"a.iso", 9)
    assert asked(b"*.iso\n!size<10\n", b"a.iso", 10)
    assert asked(b"*.iso\n!size<10\nsize<5\n", b"a.iso", 4)
    assert not asked(b"size>1K\n!size>1K *.iso\n", b"a.iso", 2000)
    assert asked(b"build/\n!size<10\n", b"build/a", 1), "nothing in an ignored directory is taken back"


def test_only_files_are_asked() -> None:
    rules = parse_ignores(b"size>0\ntype:video\nage>1h\n")
    assert not rules.match((b"film.mkv",), True)
    assert not rules.match((b"film.mkv",), False), "a link"
    assert rules.match((b"film.mkv",), False, Facts(1, 0), NOW_NS)


def test_no_rule_leaves_out_the_rules() -> None:
    assert not asked(b"size>0\nage>1h\n", b".syncdignore", 100, 100)
    assert asked(b"size>0\n", b"sub/.syncdignore", 100)


def test_rule_that_decides_is_named() -> None:
    rules = parse_ignores(b"*.o\n# films\nsize>1K *.mkv\n\n!keep*\n")
    facts = Facts(2000, NOW_NS)
    assert rules.rule((b"a.mkv",), False, facts, NOW_NS) == "size>1K *.mkv"
    assert rules.rule((b"a.o",), False, facts, NOW_NS) == "*.o"
    assert rules.rule((b"keep.mkv",), False, facts, NOW_NS) is None


@pytest.mark.parametrize(
    "rule",
    [
        "size>", "size>50X", "size>-1", "size=5", "size>1e3", "size>٣M", "type:", "type:films", "type:Video",
        "age<1d", "age>1m", "age>1", "age>", "size>1K !*.iso", "size>1K [", "!size>", "size>9999999999", "type>video",
    ],
)  # fmt: skip
def test_what_is_no_condition_is_reported_and_the_other_rules_hold(rule: str) -> None:
    rules = parse_ignores(f"*.o\n{rule}\n*.tmp\n".encode())
    assert len(rules.problems) == 1 and rules.problems[0].startswith("line 2: ")
    assert rules.lines == ("*.o", "*.tmp")
    assert rules.match((b"x.tmp",), False, Facts(1 << 40, 0), NOW_NS)


def test_name_that_looks_like_a_condition_is_escaped() -> None:
    assert asked(b"\\size>50M\n", b"size>50M")
    assert not asked(b"\\size>50M\n", b"other", 51 * MB)
    assert asked(b"sizes\n", b"sizes") and asked(b"type\n", b"type")


def test_shared_rules_and_own_ones_are_one_list() -> None:
    both = parse_ignores(b"size>1K\nsize>\n").and_own(parse_ignores(b"!*.iso\ntype:video\n"))
    assert both.lines == ("size>1K", "!*.iso", "type:video")
    assert both.problems == (".syncdignore: line 2: size>",)
    facts = Facts(2000, NOW_NS)
    assert not both.match((b"a.iso",), False, facts, NOW_NS)
    assert both.match((b"a.mkv",), False, Facts(1, NOW_NS), NOW_NS)


def test_no_ending_has_two_types() -> None:
    every = [ending for endings in ENDINGS.values() for ending in endings]
    assert len(every) == len(set(every))
