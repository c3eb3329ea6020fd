"""Blocking. How many files stand on a disk and wait in `.syncd/old`, and their bytes, without counting them each time:
SQLite keeps count.

Every change asks for these numbers, and counting reads every row: a tenth of a millisecond in a small folder, a third
of a second among a million files. So they are counted once for each connection, and triggers follow what is written to
`node` and `old` from then on. They are temporary, as is the table that they write to: the database does not know of
them, another program may write to it, and what is rolled back is taken back here too.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

_IS_FILE = "IN (1,3)"

_SETUP = f"""
PRAGMA recursive_triggers=ON;
CREATE TEMP TABLE total(
  files INTEGER NOT NULL, size INTEGER NOT NULL, old_files INTEGER NOT NULL, old_size INTEGER NOT NULL);
CREATE TEMP TRIGGER total_insert AFTER INSERT ON main.node WHEN new.l_kind {_IS_FILE}
BEGIN UPDATE total SET files=files+1, size=size+coalesce(new.l_size,0); END;
CREATE TEMP TRIGGER total_delete AFTER DELETE ON main.node WHEN old.l_kind {_IS_FILE}
BEGIN UPDATE total SET files=files-1, size=size-coalesce(old.l_size,0); END;
CREATE TEMP TRIGGER total_update AFTER UPDATE OF l_kind, l_size ON main.node
WHEN (old.l_kind {_IS_FILE} OR new.l_kind {_IS_FILE}) AND (old.l_kind<>new.l_kind OR old.l_size IS NOT new.l_size)
BEGIN UPDATE total SET
  files=files+(new.l_kind {_IS_FILE})-(old.l_kind {_IS_FILE}),
  size=size+CASE WHEN new.l_kind {_IS_FILE} THEN coalesce(new.l_size,0) ELSE 0 END
           -CASE WHEN old.l_kind {_IS_FILE} THEN coalesce(old.l_size,0) ELSE 0 END;
END;
CREATE TEMP TRIGGER total_old_insert AFTER INSERT ON main.old
BEGIN UPDATE total SET old_files=old_files+1, old_size=old_size+coalesce(new.size,0); END;
CREATE TEMP TRIGGER total_old_delete AFTER DELETE ON main.old
BEGIN UPDATE total SET old_files=old_files-1, old_size=old_size-coalesce(old.size,0); END;
CREATE TEMP TRIGGER total_old_update AFTER UPDATE OF size ON main.old
BEGIN UPDATE total SET old_size=old_size-coalesce(old.size,0)+coalesce(new.size,0); END;
"""
_COUNT = f"""
SELECT n.*, o.* FROM
  (SELECT count(*), coalesce(sum(l_size),0) FROM main.node WHERE l_kind {_IS_FILE}) n,
  (SELECT count(*), coalesce(sum(size),0) FROM main.old) o
"""
# A row that replaces another deletes it first, which only recursive triggers are told of.


class Totals(NamedTuple):
    """Files and symlinks that stand on the disk, and inodes that wait in `.syncd/old`."""

    files: int
    size: int
    old_files: int
    old_size: int


def db_totals(connection: sqlite3.Connection) -> Totals:
    """As of now, what is not committed yet included."""
    found = totals_so_far(connection)
    if found is None:
        found = Totals(*connection.execute(_COUNT).fetchone())
        begin_totals(connection, found)
    return found


def totals_so_far(connection: sqlite3.Connection) -> Totals | None:
    """What was counted and followed on this connection; None if nothing was."""
    if connection.execute("SELECT 1 FROM temp.sqlite_master WHERE name='total'").fetchone() is None:
        return None
    return Totals(*connection.execute("SELECT files, size, old_files, old_size FROM temp.total").fetchone())


def begin_totals(connection: sqlite3.Connection, totals: Totals) -> None:
    """Follow from here on what is written, beginning with what stands in the rows now."""
    for statement in _statements(_SETUP):
        connection.execute(statement)
    connection.execute("INSERT INTO temp.total VALUES (?,?,?,?)", totals)


def _statements(script: str) -> list[str]:
    """`executescript` would commit what is under way."""
    found, text = [], ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            found.append(text)
            text = ""
    return found
