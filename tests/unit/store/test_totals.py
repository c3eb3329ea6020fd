"""The numbers that triggers keep are those that counting gives, whatever is written and taken back."""

from __future__ import annotations

import sqlite3
from random import Random

import pytest

from syncd.model.ids import NodeId
from syncd.store import rows
from syncd.store.db import Transaction, open_database
from syncd.store.forms import FOLDER
from syncd.store.rows import DELETED, DIR, FILE, NONE, SYMLINK, NodeRow
from syncd.store.totals import db_totals

COUNTED = (
    "SELECT n.*, o.* FROM (SELECT count(*), coalesce(sum(l_size),0) FROM node WHERE l_kind IN (1,3)) n, "
    "(SELECT count(*), coalesce(sum(size),0) FROM old) o"
)


class TakenBack(Exception):
    """Of a transaction."""


@pytest.fixture
def database() -> sqlite3.Connection:
    return open_database(lambda: sqlite3.connect(":memory:"), lambda: "", FOLDER).connection


def change(database: sqlite3.Connection, chance: Random) -> None:
    """What the store does to rows: whole rows put in the place of others, updates, deletions."""
    id_ = chance.randint(2, 12)
    size = chance.choice([None, 0, chance.randint(1, 1000)])
    kind = chance.choice([NONE, FILE, DIR, SYMLINK])
    match chance.randrange(6):
        case 0 | 1:
            row = NodeRow(id_, NodeId(bytes([id_]) * 32), kind=DELETED, l_kind=kind, l_size=size)
            rows.write(database, [row])
        case 2:
            database.execute("UPDATE node SET l_kind=?, l_size=? WHERE id=?", (kind, size, id_))
        case 3:
            database.execute("DELETE FROM node WHERE id=?", (id_,))
        case 4:
            database.execute(
                "INSERT OR REPLACE INTO old(token, node, name, size, since) VALUES (?,?,?,?,0)",
                (f"token {id_}", id_, b"name", size),
            )
        case 5:
            query = chance.choice(["DELETE FROM old WHERE node=?", "UPDATE old SET size=7, checked=1 WHERE node=?"])
            database.execute(query, (id_,))


@pytest.mark.parametrize("seed", range(20))
def test_totals_are_what_counting_gives(database: sqlite3.Connection, seed: int) -> None:
    chance = Random(seed)
    for _ in range(10):
        change(database, chance)
    assert db_totals(database) == database.execute(COUNTED).fetchone()  # from here on triggers count
    for _ in range(200):
        try:
            with Transaction(database):
                for _ in range(chance.randint(1, 4)):
                    change(database, chance)
                if chance.random() < 0.3:
                    raise TakenBack
        except TakenBack:
            pass
        assert db_totals(database) == database.execute(COUNTED).fetchone()


def test_totals_are_those_of_a_connection_and_leave_nothing_in_the_database(database: sqlite3.Connection) -> None:
    before = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    assert db_totals(database) == (0, 0, 0, 0)
    assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == before
