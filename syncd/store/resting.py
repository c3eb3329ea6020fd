"""Blocking. A connection to a database that is closed while nobody needs it, and opened again at first use.

What an idle connection holds is not its pages but the statements that it keeps prepared, some 190 of 5 kB, and three
descriptors. Nothing but closing lets go of them. So the object stays, for everybody who has it, and what it stands for
goes: SQLite closes the file as at the end of the program, and opens it when it is needed (`folder.database` says when).

What is only in the connection goes through that time with it: how many rows it has changed, and the totals that
triggers keep. Both are true as long as the file is the one that was left. If it is not, nothing is read: a database
that may be any has to be looked at first, as at a start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from syncd.errors import StoreCorrupt
from syncd.store.totals import Totals, begin_totals, totals_so_far

STATEMENTS = 512
"""Kept prepared on each connection: a folder uses some 300, and with Python's 128 most are prepared again and again."""

LOG_PAGES = 8000
"""How long the log beside a database grows, 32 MiB, before what is in it is written to its places. A commit of a large
folder touches thousands of pages, most of which the next ones touch again: written each time, they cost twice."""


class DatabaseChanged(StoreCorrupt):
    """The file is not the one that was left when the connection came to rest."""


class RestingConnection(sqlite3.Connection):
    """In autocommit mode, usable from any thread, one at a time: that goes for what it says of itself, too."""

    def __init__(self, address: str, look: Callable[[], object], *, uri: bool = False) -> None:
        """`look` tells files apart: what it returns of one that nobody has touched is always the same."""
        self._address = address
        self._look = look
        self._is_uri = uri
        self._changes_before = 0
        self._totals: Totals | None = None
        self._as_left: object = None
        self._is_over = False
        self.is_at_rest = False
        self._connect()

    def _connect(self) -> None:
        own = vars(self).copy()  # to begin anew, Python clears all that the object has
        address, is_uri = self._address, self._is_uri
        try:
            super().__init__(
                address, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS, uri=is_uri
            )
        finally:
            vars(self).update(own)

    @property
    def total_changes(self) -> int:
        """SQLite's count of changed rows, as if it had never been closed."""
        return self._changes_before + super().total_changes

    def rest(self) -> bool:
        """Close it, unless something is under way in it. What is written stays: this is what happens at the end of the
        program, and if the disk fails in that moment, what was committed lies in the log beside the file."""
        if self.is_at_rest or self._is_over or self.in_transaction:
            return False
        self._changes_before, self._totals = self.total_changes, totals_so_far(self)
        super().close()
        self.is_at_rest = True
        self._as_left = self._look()
        return True

    def wake(self) -> None:
        """Open it again, if it is at rest. Raises DatabaseChanged, sqlite3.Error; then it is at rest still."""
        if not self.is_at_rest or self._is_over:
            return
        if self._look() != self._as_left:
            raise DatabaseChanged("the database was changed by another program", id="SY-DB-01")
        self._connect()
        try:
            configure(self)
            if self._totals is not None:
                begin_totals(self, self._totals)
        except BaseException:
            super().close()
            raise
        self._changes_before -= super().total_changes
        self.is_at_rest = False

    def shrink(self) -> None:
        """Let go of the pages that are kept; they come again when they are needed."""
        if not self.is_at_rest and not self._is_over:
            self.execute("PRAGMA shrink_memory")

    def close(self) -> None:
        """For good."""
        self._is_over = True
        if not self.is_at_rest:
            super().close()


def configure(connection: sqlite3.Connection) -> None:
    """How every database of ours is used. Raises sqlite3.Error."""
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cache_size=-16384")
    connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
    connection.execute("PRAGMA temp_store=MEMORY")
