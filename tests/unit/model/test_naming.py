from __future__ import annotations

import pytest

from syncd.model.ids import VersionId
from syncd.model.naming import Child, disk_key, is_legal, name_children
from syncd.treetypes import Personality
from tests.helpers.model_values import node_id, stamp, version

INSENSITIVE = Personality(case_insensitive=True)
NORMALISING = Personality(normalising=True)
APFS = Personality(case_insensitive=True, normalising=True, utf8_only=True)
FAT = Personality(case_insensitive=True, utf8_only=True, illegal=frozenset(b':?*<>|"\\'), name_max=255)

SMALL_NODE = "00000000"  # the first hex digits of nodes and versions with small numbers


def child(number: int, name: bytes, *, directory: bool = False, copy: VersionId | None = None) -> Child:
    return Child(node_id(number), copy, name, directory, stamp(number))


def numbers(named: dict[bytes, Child]) -> dict[bytes, int]:
    return {name: int.from_bytes(each.node, "big") for name, each in named.items()}


def test_distinct_names_are_kept() -> None:
    assert numbers(name_children([child(1, b"a"), child(2, b"b")])) == {b"a": 1, b"b": 2}


def test_the_earlier_move_keeps_the_name() -> None:
    named = name_children([child(2, b"a.txt"), child(1, b"a.txt")])
    assert numbers(named) == {b"a.txt": 1, f"a (conflict anna {SMALL_NODE}).txt".encode(): 2}


def test_a_file_yields_to_a_directory() -> None:
    named = name_children([child(1, b"a"), child(2, b"a", directory=True)])
    assert numbers(named) == {b"a": 2, f"a (conflict anna {SMALL_NODE})".encode(): 1}


def test_a_copy_never_takes_the_name() -> None:
    named = name_children([child(1, b"a", copy=version(1)), child(2, b"a")])
    assert named[b"a"].copy is None
    assert len(named) == 2


def test_conflict_names_that_are_taken_grow() -> None:
    short = f"a (conflict anna {SMALL_NODE})".encode()
    named = name_children([child(1, b"a"), child(2, b"a"), child(3, short)])
    assert numbers(named) == {b"a": 1, short: 3, f"a (conflict anna {'0' * 16})".encode(): 2}


def test_names_do_not_run_out() -> None:
    """Somebody who makes files with all names that a copy could have had gains nothing."""
    squatters = [
        child(10 + digits, f"a (conflict anna {version(2).hex()[:digits]})".encode()) for digits in (8, 16, 32, 64)
    ]
    named = name_children([child(1, b"a"), child(2, b"a"), *squatters])
    assert len(named) == 6


def test_names_that_differ_in_case_stay_apart_where_the_disk_can() -> None:
    assert set(name_children([child(1, b"Foo"), child(2, b"foo")])) == {b"Foo", b"foo"}


def test_names_that_differ_in_case_get_a_collision_name_where_it_cannot() -> None:
    named = name_children([child(1, b"Foo.c"), child(2, b"foo.c")], INSENSITIVE)
    assert numbers(named) == {b"Foo.c": 1, f"foo (name {SMALL_NODE}).c".encode(): 2}


def test_two_unicode_forms_of_a_name_collide_on_a_normalising_disk() -> None:
    composed, decomposed = "é".encode(), "e\u0301".encode()
    assert len(name_children([child(1, composed), child(2, decomposed)])) == 2
    assert set(name_children([child(1, composed), child(2, decomposed)])) == {composed, decomposed}
    named = name_children([child(1, composed), child(2, decomposed)], NORMALISING)
    assert numbers(named)[composed] == 1
    assert decomposed not in named


def test_a_name_that_the_disk_cannot_hold_is_replaced() -> None:
    named = name_children([child(1, b"what?.txt"), child(2, b"\xff.txt"), child(3, b"fine")], FAT)
    assert numbers(named) == {
        f"what_ (name {SMALL_NODE}).txt".encode(): 1,
        f"_ (name {SMALL_NODE}).txt".encode(): 2,
        b"fine": 3,
    }


def test_a_name_whose_end_the_disk_would_leave_out_ends_otherwise() -> None:
    named = name_children([child(1, b"and so on..."), child(2, b"room "), child(3, b"a.txt")], Personality(trims=True))
    assert numbers(named) == {
        f"and so on. (name {SMALL_NODE})._".encode(): 1,
        f"room_ (name {SMALL_NODE})".encode(): 2,
        b"a.txt": 3,
    }


def test_a_name_that_is_too_long_for_the_disk_is_shortened() -> None:
    (name,) = name_children([child(1, b"n" * 200)], Personality(name_max=100))
    assert len(name) == 100


def test_a_real_name_is_kept_before_one_made_up() -> None:
    made_up = f"A (CONFLICT ANNA {SMALL_NODE})".encode()
    named = name_children([child(1, b"a"), child(2, b"a"), child(3, made_up)], INSENSITIVE)
    assert numbers(named)[made_up] == 3
    assert len(named) == 3


@pytest.mark.parametrize(
    ("one", "other", "personality"),
    [
        ("README", "readme", INSENSITIVE),
        ("straße", "STRASSE", INSENSITIVE),
        ("\u212aelvin", "kelvin", INSENSITIVE),
        ("ﬁle", "FILE", INSENSITIVE),
        ("É", "e\u0301", APFS),
        ("\u0390", "\u1fd3", APFS),
    ],
)
def test_names_that_fold_together_have_one_key(one: str, other: str, personality: Personality) -> None:
    assert disk_key(one.encode(), personality) == disk_key(other.encode(), personality)
    assert disk_key(one.encode(), Personality()) != disk_key(other.encode(), Personality())


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("\u0131", "i"), ("e\u0301", "e")])
def test_other_names_have_other_keys(one: str, other: str) -> None:
    assert disk_key(one.encode(), APFS) != disk_key(other.encode(), APFS)


def test_keys_keep_bytes_that_are_no_text() -> None:
    assert disk_key(b"A\xff", INSENSITIVE) == b"a\xff"


def test_legal_names() -> None:
    assert is_legal(b"\xff", Personality())
    assert not is_legal(b"\xff", APFS)
    assert not is_legal(b"a:b", FAT)
    assert is_legal("ü".encode(), FAT)
