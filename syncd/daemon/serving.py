"""Async. What a folder answers its peers: heads as they become known, which blocks are here, and the blocks themselves.

Bytes leave only as `store.folder.seal_served` lets them: read into a buffer, compared with the index, encrypted.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence

import trio

from ca.ids import DeviceId
from syncd.daemon.ground import Ground
from syncd.model.ids import Cid
from syncd.protocol.exchange import Frame, FrameStatus, HeadsPage
from syncd.store.folder import Served, SourceReader, seal_served
from syncd.treetypes import Path

log = logging.getLogger("syncd.folder")

SERVE_BYTES = 1 << 20
HEADS_PER_PAGE = 256
NOTHING = memoryview(b"")


class Server:
    """Implements `protocol.exchange.FolderServer` for one folder."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._store = ground.store
        self._db = ground.db
        self._blocking = ground.workers.run_blocking
        self._is_doubted = False
        """A peer has shown that this database is an older one. Believed once: it costs everybody a new numbering."""

    @property
    def log_id(self) -> bytes:
        """Names the numbering of this database: a fresh or doubtful one has a new incarnation, and so a new log."""
        return self._store.journal.incarnation

    async def digest(self) -> bytes:
        """Over all journal heads that are here."""
        return await self._db(self._store.journal.digest)

    async def newest_of(self, device: DeviceId) -> bytes | None:
        """The newest signed head that is here of a device's journals."""
        return await self._db(self._store.journal.newest_of, device)

    def own_journal_seen(self, raw_head: bytes | None) -> None:
        """A peer shows the newest head that it has of our journals; one that we lack comes to us with its other
        heads."""

    async def heads_after(self, device: DeviceId, log_id: bytes, after: int, wait_s: float) -> HeadsPage:
        """What was accepted here after a number; waits up to `wait_s` for news."""
        if log_id == self.log_id and after > self._ground.newest and not self._is_doubted:
            # It has read further than we have written: this database is an older one, and its numbers mean nothing.
            self._is_doubted = True
            log.warning("folder %s: a peer knows more of our numbering than we do; it begins anew", self._ground.name)
            await self._db(self._store.db_begin_journal)
        if log_id != self.log_id or after > self._ground.newest:
            after = 0
        elif after == self._ground.newest:
            with trio.move_on_after(wait_s):
                await self._ground.news.wait()
        moved = await self._db(self._store.journal.moved_after, after, HEADS_PER_PAGE)
        self._ground.announce(
            moved.newest
        )  # whoever wrote it may not have come to that yet, and it is told from here on
        last = moved.heads[-1][0] if len(moved.heads) == HEADS_PER_PAGE else max(moved.newest, after)
        roster_head = self._store.membership.head
        return HeadsPage(self.log_id, last, moved.newest, tuple(head for _, head in moved.heads), roster_head)

    async def have(self, cids: Sequence[Cid]) -> bytes:
        """Bitmap of blocks that are here."""
        return await self._db(self._store.db_have, cids)

    def peer_needs_now(self, device: DeviceId, files: int, size: int) -> None:
        """A peer tells what it still lacks."""
        if self._ground.peer_needs.get(device) != (files, size):
            self._ground.puller.peers_have_more(device)  # what it lacked it may have now
        self._ground.peer_needs[device] = (files, size)
        self._ground.tell()

    async def serve_blocks(self, cids: Sequence[Cid]) -> AsyncIterator[Frame]:
        """Frames in the order asked; each batch is read in one hop to a thread."""
        if not self._ground.rights.exchanges:
            for index in range(len(cids)):
                yield Frame(index, FrameStatus.BUSY, NOTHING)
            return
        served = await self._db(self._store.db_locate, cids)
        reader = SourceReader(self._store.tree, self._store.packs, self._store.keyring)
        buffer = memoryview(bytearray(max((s.entry.length for s in served if s.entry is not None), default=0)))
        changed: list[Path] = []
        at = 0
        try:
            while at < len(served):
                part, at = _batch(served, at)
                frames = await self._blocking(self._seal, reader, part, buffer)
                for frame in frames:
                    self._ground.meter.sent_bytes += len(frame.ciphertext)
                    if frame.status is FrameStatus.CHANGED:
                        changed += [source.path for source, _ in served[frame.index].places]
                    yield frame
        finally:
            reader.close()
            self._ground.look_again([path for path in changed if path])

    def _seal(self, reader: SourceReader, part: Sequence[Served], buffer: memoryview) -> list[Frame]:
        frames = []
        for served in part:
            status, ciphertext = seal_served(reader, self._store.keyring, served, buffer)
            content = NOTHING if ciphertext is None else memoryview(bytes(ciphertext))
            frames.append(Frame(served.index, FrameStatus(status), content))
        return frames


def _batch(served: Sequence[Served], start: int) -> tuple[Sequence[Served], int]:
    """The next blocks to seal in one go: some megabytes."""
    size = 0
    at = start
    while at < len(served) and (at == start or size < SERVE_BYTES):
        entry = served[at].entry
        size += 4096 if entry is None else entry.length
        at += 1
    return served[start:at], at
