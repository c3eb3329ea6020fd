"""Blocking. Opening a database: pragmas, migrations, integrity, and setting a broken one aside.

One connection per database serves reads and writes, behind a lane of one (`seams.Lane`): that also keeps clear of the
SQLite defect that corrupts a WAL shared by two connections (`docs/storage.md`). A database that cannot be read is moved
aside, never deleted, and a new one is begun: the folder then rejoins without a base, where absence never deletes.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from ca.values import dataclass
from syncd.errors import StoreCorrupt
from syncd.store.forms import Form
from syncd.store.migrating import OnProgress, migrate

STATEMENTS = 512
"""Kept prepared on each connection: a folder uses some 300, and with Python's 128 most are prepared again and again."""

Open = Callable[[], sqlite3.Connection]
SetAside = Callable[[], str]


class DatabaseNewer(StoreCorrupt):
    """A newer program wrote this database; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A usable connection, and the name of the broken database that was moved aside, if one was."""

    connection: sqlite3.Connection
    moved_aside: str | None


_ODD_FORMAT = "unsupported file format"
"""What SQLite says of a header with one damaged field; all else that it calls operational is the disk's trouble."""


def open_database(open_: Open, set_aside: SetAside, form: Form, tell: OnProgress = lambda line: None) -> Opened:
    """Open, check and migrate; on damage move the old file aside and begin a new one. `tell` hears how it goes.

    Raises DatabaseNewer when a newer program wrote it, MigrationFailed, sqlite3.OperationalError when the disk refuses.
    """
    moved: str | None = None
    try:
        connection = _prepare(open_(), form, tell)
    except sqlite3.OperationalError as error:
        if str(error) != _ODD_FORMAT:
            raise
        moved = set_aside()
        connection = _prepare(open_(), form, tell)
    except (sqlite3.DatabaseError, StoreCorrupt) as error:
        if isinstance(error, DatabaseNewer):
            raise
        moved = set_aside()
        connection = _prepare(open_(), form, tell)
    return Opened(connection, moved)


def _prepare(connection: sqlite3.Connection, form: Form, tell: OnProgress) -> sqlite3.Connection:
    try:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=-16384")
        connection.execute("PRAGMA temp_store=MEMORY")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > form.newest:
            raise DatabaseNewer(
                f"this database has format {version}, this program knows {form.newest}",
                id="SY-DB-02",
                why="a newer syncd has used this home",
                fix="install that version again; or syncd db rollback, to go back to before it",
            )
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreCorrupt(f"the database is damaged: {verdict}", id="SY-DB-01")
        if version != form.newest or not form.is_current(connection):
            migrate(connection, form.steps(), form.newest, tell)
            connection.execute(f"PRAGMA user_version={form.newest}")
    except BaseException:
        connection.close()
        raise
    return connection


@dataclass(frozen=True, slots=True)
class HomeDatabase:
    """A database file in syncd's home, for `open_database`. SQLite gives its other files the mode of this one."""

    home: Path | str
    name: str

    def open(self) -> sqlite3.Connection:
        """In autocommit mode, usable from any thread, one at a time."""
        path = os.path.join(self.home, self.name)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS)

    def set_aside(self) -> str:
        """Rename the closed, broken file, never replacing an earlier one. Its new name."""
        path = os.path.join(self.home, self.name)
        number = 1
        while os.path.lexists(f"{path}.broken-{number}"):
            number += 1
        for suffix in ("", "-wal", "-shm"):
            if os.path.lexists(path + suffix):
                os.rename(path + suffix, f"{path}.broken-{number}{suffix}")
        return f"{self.name}.broken-{number}"


class Transaction:
    """`with Transaction(connection):` one immediate transaction; rolled back when the block raises."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection.execute("ROLLBACK" if kind is not None else "COMMIT")


def is_sound(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with a database; nothing if it is sound."""
    found = [str(line) for (line,) in connection.execute("PRAGMA integrity_check")]
    return [] if found == ["ok"] else found
