"""Blocking. The two kinds of databases: which format is theirs, and where the steps to it are.

The steps are loaded only for a database that is new or older, and the library that takes them for one that is older: a
daemon that starts again needs neither.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from ca.values import dataclass
from syncd.store.migrating import RECORD, Steps


@dataclass(frozen=True, slots=True)
class Form:
    """`newest`: the user_version that this program writes. `last`: the last of the steps, which are done in order."""

    name: str
    newest: int
    last: str
    steps: Callable[[], Steps]

    def is_current(self, connection: sqlite3.Connection) -> bool:
        """Whether every step was done."""
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name=?", (RECORD,)).fetchone() is None:
            return False
        done = f"SELECT 1 FROM {RECORD} WHERE migration_set=? AND name=?"
        return connection.execute(done, (self.name, self.last)).fetchone() is not None


def _folder_steps() -> Steps:
    from syncd.store import schema

    return schema.FOLDER


def _device_steps() -> Steps:
    from syncd.store import schema

    return schema.DEVICE


FOLDER = Form("syncd-folder", 5, "m016_passed_again", _folder_steps)
DEVICE = Form("syncd-device", 1, "m005_begun", _device_steps)
