"""Blocking. The two kinds of databases: which format is theirs, and where the steps to it are.

The steps, and the library that takes them, are loaded only for a database that is new or older: a daemon that starts
again needs neither.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from ca.values import dataclass

if TYPE_CHECKING:
    from sqlite_utils import Migrations

_RECORD = "_sqlite_migrations"
"""Where sqlite-utils notes each step, in the transaction of that step."""


@dataclass(frozen=True, slots=True)
class Form:
    """`newest`: the user_version that this program writes. `last`: the last of the steps, which are done in order."""

    name: str
    newest: int
    last: str
    steps: Callable[[], Migrations]

    def is_current(self, connection: sqlite3.Connection) -> bool:
        """Whether every step was done."""
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name=?", (_RECORD,)).fetchone() is None:
            return False
        done = f"SELECT 1 FROM {_RECORD} WHERE migration_set=? AND name=?"
        return connection.execute(done, (self.name, self.last)).fetchone() is not None


def _folder_steps() -> Migrations:
    from syncd.store import schema

    return schema.FOLDER


def _device_steps() -> Migrations:
    from syncd.store import schema

    return schema.DEVICE


FOLDER = Form("syncd-folder", 5, "m011_extended_attributes", _folder_steps)
DEVICE = Form("syncd-device", 1, "m004_share_links", _device_steps)
