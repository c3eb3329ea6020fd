"""Under which rules a folder was looked at is written down when they change, and not at every look."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from syncd.model.ignores import parse_ignores
from syncd.store.filtering import db_note_rules


def test_rules_that_are_known_are_not_written_again() -> None:
    """Each write is flushed to the disk, and a thousand folders are looked at when a daemon starts."""
    some, others = parse_ignores(b"*.tmp\n"), parse_ignores(b"*.o\n")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB)")
        written = []
        for rules in (some, some, others, others, some):
            db_note_rules(connection, rules)
            written.append(connection.total_changes)
        (value,) = connection.execute("SELECT value FROM meta WHERE key='rules'").fetchone()
    assert written[1] == written[0] < written[2] == written[3] < written[4]
    assert value == b"*.tmp"
