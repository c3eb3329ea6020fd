"""A transaction that the disk refuses, at a statement or at its end: what is told, and what is left of it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from syncd.daemon.running import judge
from syncd.store.db import HomeDatabase, Transaction, open_database
from syncd.store.forms import FOLDER


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    opened = sqlite3.connect(tmp_path / "one.db", isolation_level=None)
    opened.execute("PRAGMA journal_mode=WAL")
    opened.execute("PRAGMA foreign_keys=ON")
    opened.execute("CREATE TABLE above(id INTEGER PRIMARY KEY, content BLOB)")
    opened.execute("CREATE TABLE below(above INTEGER REFERENCES above DEFERRABLE INITIALLY DEFERRED)")
    return opened


def fill(connection: sqlite3.Connection) -> None:
    with Transaction(connection):
        for _ in range(100):
            connection.execute("INSERT INTO above(content) VALUES (?)", (bytes(3000),))


def test_full_disk_is_told_as_such_and_no_fault_of_ours(connection: sqlite3.Connection) -> None:
    """SQLite has rolled back by itself then."""
    connection.execute("PRAGMA max_page_count=50")
    with pytest.raises(sqlite3.OperationalError, match="full") as refused:
        fill(connection)
    stop = judge(ExceptionGroup("", [refused.value]))
    assert (stop.why.id, stop.is_bug) == ("SY-DISK-01", False)
    assert stop.again_s is not None
    connection.execute("PRAGMA max_page_count=1000")
    fill(connection)
    assert connection.execute("SELECT count(*) FROM above").fetchone() == (100,)


def test_nothing_is_left_of_a_transaction_that_could_not_be_committed(connection: sqlite3.Connection) -> None:
    """Else what follows would be done inside of it, and be gone with it at the next start."""
    with pytest.raises(sqlite3.IntegrityError), Transaction(connection):
        connection.execute("INSERT INTO below VALUES (7)")
    assert not connection.in_transaction
    assert connection.execute("SELECT count(*) FROM below").fetchone() == (0,)
    fill(connection)


def test_what_the_block_raises_is_told_and_undoes_it(connection: sqlite3.Connection) -> None:
    with pytest.raises(ValueError, match="other"), Transaction(connection):
        connection.execute("INSERT INTO above(content) VALUES (x'00')")
        raise ValueError("other")
    assert connection.execute("SELECT count(*) FROM above").fetchone() == (0,)


class Unread(sqlite3.Connection):
    """One of whose pages the disk does not let SQLite read, as often as `refusals` says."""

    refusals = 0

    def execute(self, query: str, *arguments: Any) -> sqlite3.Cursor:
        if query.startswith("PRAGMA quick_check") and self.refusals:
            type(self).refusals -= 1
            query = "SELECT 'Page 2: unable to get the page. error code=8458'"
        return super().execute(query, *arguments)


@pytest.mark.parametrize(("refusals", "is_damaged"), [(0, False), (1, False), (2, True)])
def test_database_that_could_not_be_read_once_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int, is_damaged: bool
) -> None:
    """SQLite calls a page that it was not given a damaged one."""
    database = HomeDatabase(tmp_path, "folder.db")
    open_database(database.open, database.set_aside, FOLDER).connection.close()
    monkeypatch.setattr(Unread, "refusals", refusals)

    def open_again() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "folder.db", isolation_level=None, factory=Unread)

    opened = open_database(open_again, database.set_aside, FOLDER)
    opened.connection.close()
    assert (opened.moved_aside is not None) is is_damaged
