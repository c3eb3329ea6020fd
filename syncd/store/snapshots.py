"""Blocking. Snapshots: moments with a name. Nothing is copied; a snapshot is a promise to keep what was there then.

All of it is `db_`.
"""

from __future__ import annotations

from ca.values import dataclass
from syncd.store.folder import FolderStore

BY_PERSON, BY_SCHEDULE = 1, 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment with a name."""

    name: str
    at_ms: int
    made: float
    kind: int

    @property
    def is_scheduled(self) -> bool:
        return self.kind == BY_SCHEDULE


def db_list(store: FolderStore) -> list[Snapshot]:
    """All of them, the newest moment first."""
    query = "SELECT name, at_ms, made, kind FROM snapshot ORDER BY at_ms DESC, name"
    return [Snapshot(*line) for line in store.connection.execute(query)]


def db_find(store: FolderStore, name: str) -> Snapshot | None:
    return next((one for one in db_list(store) if one.name == name), None)


def db_add(store: FolderStore, name: str, at_ms: int, now: float, kind: int = BY_PERSON) -> None:
    """Name a moment; a name that is taken is given to the new one."""
    pinned = int(kind == BY_PERSON)
    store.connection.execute("INSERT OR REPLACE INTO snapshot VALUES (?,?,?,?,?)", (name, at_ms, now, kind, pinned))


def db_add_new(store: FolderStore, name: str, at_ms: int, now: float) -> bool:
    """Name a moment as a person does; False, and nothing is done, if another moment has that name: what was there then
    is kept because of it."""
    there = db_find(store, name)
    if there is not None and there.at_ms != at_ms:
        return False
    db_add(store, name, at_ms, now)
    return True


def db_remove(store: FolderStore, name: str) -> bool:
    """Forget a name; False if there is none."""
    return store.connection.execute("DELETE FROM snapshot WHERE name=?", (name,)).rowcount > 0


def db_drop_scheduled(store: FolderStore, before_ms: int) -> None:
    """Forget scheduled snapshots of moments that nothing is promised of any more."""
    store.connection.execute("DELETE FROM snapshot WHERE kind=? AND at_ms<?", (BY_SCHEDULE, before_ms))
