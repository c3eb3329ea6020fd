"""How a disk treats names: kept in the database, and told apart from what a disk makes of names by itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from syncd.engine.detect import Known
from syncd.model.naming import ANY_NAME
from syncd.store.scan import as_known
from syncd.store.spelling import note_personality, personality_of, spellings
from syncd.treetypes import Kind, Personality, Stat

COMPOSED, DECOMPOSED = "\u00e9".encode(), "e\u0301".encode()
ODD = Personality(True, True, True, frozenset(b":?"), 100)
NORMALISES = Personality(normalising=True)


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB)")
        yield connection


def test_usual_disk_leaves_no_trace(database: sqlite3.Connection) -> None:
    assert not note_personality(database, Personality(name="ext4", mtime_step_ns=1))
    assert personality_of(database) == ANY_NAME


def test_odd_disk_is_known_again_and_a_change_is_noticed(database: sqlite3.Connection) -> None:
    assert note_personality(database, ODD)
    assert personality_of(database) == ODD
    assert not note_personality(database, Personality(True, True, True, frozenset(b"?:"), 100, name="another word"))
    assert note_personality(database, replace(ODD, trims=True))
    assert personality_of(database).trims
    assert note_personality(database, NORMALISES)
    assert note_personality(database, ANY_NAME)
    assert personality_of(database) == ANY_NAME


def test_name_that_a_disk_lists_in_another_form_is_the_known_one() -> None:
    stat = Stat(Kind.FILE, 1, 0, 0, 0, 0o600, 1, 0)
    known = {COMPOSED: Known(1, False, 1, COMPOSED, 1, 1, 0, 0, 0, 0o600, 0)}
    assert as_known([(DECOMPOSED, stat)], known, NORMALISES) == [(COMPOSED, stat)]
    assert as_known([(DECOMPOSED, stat)], known, ANY_NAME) == [(DECOMPOSED, stat)]
    both = [(COMPOSED, stat), (DECOMPOSED, stat)]
    assert as_known(both, known, NORMALISES) == both  # a disk that has both has two files


def test_forms_in_which_a_name_may_have_been_given() -> None:
    assert spellings(DECOMPOSED, NORMALISES) == (DECOMPOSED, COMPOSED)
    assert spellings(DECOMPOSED, ANY_NAME) == (DECOMPOSED,)
    assert spellings(b"plain", NORMALISES) == (b"plain",)
    assert spellings(b"\xff", NORMALISES) == (b"\xff",)
