"""Blocking. A copy of a small database of the home, renewed whenever something in it must not get lost.

The copy is complete or the one before: it is written under another name, made durable and renamed.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from ca.values import dataclass


@dataclass(frozen=True, slots=True)
class DatabaseCopy:
    """The copy of a database in syncd's home."""

    home: Path | str
    name: str

    @property
    def _path(self) -> str:
        return os.path.join(self.home, f"{self.name}.copy")

    def renew(self, connection: sqlite3.Connection) -> None:
        """Copy what is committed now. Raises sqlite3.Error and OSError when the disk refuses; the old copy stays."""
        fresh = f"{self._path}.new"
        if os.path.lexists(fresh):
            os.unlink(fresh)
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with closing(sqlite3.connect(fresh, isolation_level=None)) as target:
                connection.backup(target)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(fresh, self._path)

    def is_sound(self) -> bool:
        """Whether there is one, and every page of it can be read."""
        return os.path.exists(self._path) and _is_sound(self._path)

    def take_place(self) -> bool:
        """Let the copy be the database, whose own file is gone; False if there is none, or none that is sound."""
        if not self.is_sound():
            return False
        os.rename(self._path, os.path.join(self.home, self.name))
        return True


def _is_sound(path: str) -> bool:
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError:
        return False
    return bool(verdict == "ok")
