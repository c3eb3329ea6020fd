"""Blocking. Opening a database: pragmas, migrations, integrity, and setting a broken one aside.

One connection per database serves reads and writes, behind a lane of one (`seams.Lane`): that also keeps clear of the
SQLite defect that corrupts a WAL shared by two connections (`docs/storage.md`). A database that cannot be read is moved
aside, never deleted, and a new one is begun: the folder then rejoins without a base, where absence never deletes.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ca.values import dataclass
from syncd.errors import StoreCorrupt
from syncd.store.forms import Form
from syncd.store.migrating import OnProgress, begin, is_new, migrate
from syncd.store.resting import RestingConnection, configure

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
        configure(connection)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > form.newest:
            raise DatabaseNewer(
                f"this database has format {version}, this program knows {form.newest}",
                id="SY-DB-02",
                why="a newer syncd has used this home",
                fix="install that version again; or syncd db rollback, to go back to before it",
            )
        verdict = _quick_check(connection)
        if verdict != "ok":  # it says the same of a page that the disk did not let it read
            verdict = _quick_check(connection)
        if verdict != "ok":
            raise StoreCorrupt(f"the database is damaged: {verdict}", id="SY-DB-01")
        if is_new(connection):
            begin(connection, form.steps(), form.newest)
        elif version != form.newest or not form.is_current(connection):
            migrate(connection, form.steps(), form.newest, tell)
            connection.execute(f"PRAGMA user_version={form.newest}")
    except BaseException:
        connection.close()
        raise
    return connection


def _quick_check(connection: sqlite3.Connection) -> str:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return str(verdict)


@dataclass(frozen=True, slots=True)
class HomeDatabase:
    """A database file in syncd's home, for `open_database`. SQLite gives its other files the mode of this one."""

    home: Path | str
    name: str

    def open(self) -> RestingConnection:
        """In autocommit mode, usable from any thread, one at a time."""
        path = os.path.join(self.home, self.name)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return RestingConnection(path, lambda: look_at(path))

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

    def exists(self) -> bool:
        return os.path.lexists(os.path.join(self.home, self.name))

    def drop(self) -> None:
        """Remove the closed file, its copies, and all that was set aside of it."""
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self.home, self.name + suffix))
        with os.scandir(self.home) as entries:
            beside = [entry.path for entry in entries if entry.name.startswith(f"{self.name}.")]
        for path in beside:
            os.unlink(path)


def look_at(path: str) -> object:
    """Tells a closed database, with what lies in its log, from any other and from what it is after any change."""
    return [_seen(path), _seen(f"{path}-wal")]


def _seen(path: str) -> tuple[int, ...] | None:
    """None for what is not there, cannot be looked at, or is an empty log, which is as good as none."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) if stat.st_size else None


class Transaction:
    """`with Transaction(connection):` one immediate transaction; rolled back when the block raises, or the commit."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._roll_back()
            return
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        """After an error of the disk, SQLite has mostly done so itself, and refuses to do it once more: that would be
        told instead of what was wrong."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def is_sound(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with a database; nothing if it is sound."""
    found = [str(line) for (line,) in connection.execute("PRAGMA integrity_check")]
    return [] if found == ["ok"] else found
