"""Async. Whether what is changed here is on another device yet, and the alarm if it is not within five minutes.

A change is elsewhere when another member has read our news up to it and then says that it lacks nothing. Changes of
others came from elsewhere. Where there is no other member there is nobody to wait for, and no alarm.
"""

from __future__ import annotations

import trio

from ca.ids import DeviceId
from syncd.folder.ground import Ground
from syncd.store.folder import FolderStore

LATEST_S = 300.0
LOOK_S = 20.0
_KEY = "elsewhere"


class Replication:
    """One folder's. `run` until cancelled."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._elsewhere = 0
        """All changesets up to this arrival number are on another device."""
        self._before: dict[DeviceId, int] = {}
        self._asked: tuple[int, int] | None = None
        """For which news, and how much of them elsewhere, the rows were asked."""
        self.only_here_since: float | None = None
        """When the oldest change was made that is on no other device; None if there is none."""

    def db_begin(self) -> None:
        """At a start, before `run`: how far others were."""
        store = self._ground.store
        self._elsewhere = _db_elsewhere(store)
        self.only_here_since = _db_oldest(store, self._elsewhere)
        self._asked = (store.journal.newest_seq(), self._elsewhere)

    async def run(self) -> None:
        while True:
            await self.look()
            await trio.sleep(LOOK_S)

    async def look(self) -> None:
        """See how far others are."""
        ground = self._ground
        level = {device: ground.peer_read.get(device, 0) for device in self._level()}
        # Who has just read the news has not yet said what it lacks now: only what was so at the last look counts.
        newest = max((min(read, self._before.get(device, 0)) for device, read in level.items()), default=0)
        self._before = level
        if newest > self._elsewhere:
            self._elsewhere = newest
            await ground.db(_db_note, ground.store, newest)
        before = self.is_late
        asks = (ground.newest, self._elsewhere)
        if asks != self._asked:
            self._asked = asks
            self.only_here_since = await ground.db(_db_oldest, ground.store, self._elsewhere)
        if self.is_late is not before:
            ground.tell()

    def _level(self) -> list[DeviceId]:
        return [device for device in self._ground.links if self._ground.peer_is_level(device)]

    @property
    def is_late(self) -> bool:
        """Some change is older than five minutes and on no other device."""
        since = self.only_here_since
        return since is not None and self._ground.clock.now() - since > LATEST_S


def _db_elsewhere(store: FolderStore) -> int:
    found = store.connection.execute("SELECT value FROM meta WHERE key=?", (_KEY,)).fetchone()
    return 0 if found is None else int(found[0])


def _db_note(store: FolderStore, seq: int) -> None:
    store.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_KEY, str(seq).encode()))


def _db_oldest(store: FolderStore, after: int) -> float | None:
    """When the oldest of our own changesets after a number was made."""
    query = "SELECT min(c.time_ms) FROM changeset c JOIN author a ON a.id=c.author WHERE c.seq>? AND a.device=?"
    (found,) = store.connection.execute(query, (after, store.journal.device)).fetchone()
    return None if found is None else found / 1000
