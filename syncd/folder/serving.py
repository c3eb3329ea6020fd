"""Async. What a folder answers its peers: heads as they become known, which blocks are here, and the blocks themselves.

Bytes leave only as `store.folder.seal_served` lets them: read into a buffer, compared with the index, encrypted.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import trio

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.folder.ground import COUNTED_BITS, LEVEL, Ground, is_level
from syncd.folder.pacing import PIECE_BYTES, Pacers
from syncd.folder.proving import Prover
from syncd.http import LastPiece
from syncd.model.cipher import BlockKind
from syncd.model.heads import decode_head_untrusted
from syncd.model.ids import Cid
from syncd.protocol.exchange import FrameStatus, HeadsAsked, HeadsPage
from syncd.protocol.frames import HEAD_BYTES, room_for, write_frame_head
from syncd.protocol.messages import MAX_BODIES_BYTES, MAX_BODY_BYTES
from syncd.protocol.possession import ProveAnswer, ProveRequest
from syncd.seams import Buffer
from syncd.store.folder import Served, SourceReader, seal_served
from syncd.store.journal import Moved
from syncd.workers import Buffers

log = logging.getLogger("syncd.folder")

SERVE_BYTES = 1 << 20
AT_ONCE_BYTES = 128 << 10
"""So little is read and encrypted where it was looked up: the changesets and small files of everyday work."""
HEADS_PER_PAGE = 256
ECHO_S = 10.0
"""What a device has told us, or is said to be told by others, it hears from us at the latest after this: it counts what
we have from it as read then."""
IDLE_BUFFERS = 4
"""Kept for the next request: a plaintext and a batch of frames for each of two connections."""


class Server:
    """Implements `protocol.exchange.FolderServer` for one folder."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._store = ground.store
        self._db = ground.db
        self._blocking = ground.workers.run_blocking
        self._buffers = Buffers(IDLE_BUFFERS)
        self._prover = Prover(ground)
        self._words: dict[DeviceId, int] = {}
        """The number of the latest word of each device on what it lacks."""
        self._newest_as_of = b"", -1
        """The numbering and the changes of rows as of which `_newest` is the newest number."""
        self._newest = 0
        self._is_doubted = False
        """A peer has shown that this database is an older one. Believed once: it costs everybody a new numbering."""

    def give_back_buffers(self) -> None:
        """They are made again when somebody fetches blocks."""
        self._buffers.clear()

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

    async def heads_after(self, device: DeviceId, asked: HeadsAsked) -> HeadsPage:
        """What was accepted here after a number; waits for news as long as the question says."""
        is_ours, after, word = asked.log_id == self.log_id, asked.after, asked.word
        if is_ours and after > self._ground.newest and not self._is_doubted:
            # It has read further than we have written: this database is an older one, and its numbers mean nothing.
            self._is_doubted = True
            log.warning("folder %s: a peer knows more of our numbering than we do; it begins anew", self._ground.name)
            await self._db(self._store.db_begin_journal)
        is_known = asked.log_id == self.log_id and after <= self._ground.newest
        read, had_read = after if is_known else 0, self._ground.peer_read.get(device)
        self._ground.peer_read[device] = read
        if asked.is_level:
            self.peer_needs_now(device, *LEVEL, word)
        elif word and self._is_latest(device, word) and self._was_level(device, is_further=read != had_read):
            self._ground.peer_needs[device] = (1, 0)  # that was before it took in what it asks no more for
        if not is_known:
            after = 0
        else:
            await self._wait_for_news(device, after, asked.wait_s, asked.is_due)
        log_id, after, moved = await self._moved(asked.log_id, after)
        if log_id != asked.log_id:
            self._ground.peer_read[device] = 0
        # Whoever wrote it may not have come to that yet, and it is told from here on.
        self._ground.announce(moved.newest)
        last = moved.heads[-1][0] if len(moved.heads) == HEADS_PER_PAGE else max(moved.newest, after)
        roster_head, heads = self._store.membership.head, tuple(head for _, head in moved.heads)
        if not heads:
            return HeadsPage(log_id, last, moved.newest, heads, roster_head)
        if self._was_level(device, is_further=True):
            self._ground.peer_needs[device] = (1, 0)  # it says so anew when it has taken this in
        self._ground.note_heads(heads)
        bodies, told = self._bodies(device, moved), self._ground.hear_too(device, moved.heads[0][0])
        return HeadsPage(log_id, last, moved.newest, heads, roster_head, bodies=bodies, told=told)

    async def _moved(self, log_id: bytes, after: int) -> tuple[bytes, int, Moved]:
        """As `_db_moved`; from memory, where nothing has moved: idle peers ask again and again, while the rows rest."""
        own, changes = self.log_id, self._ground.database.changes
        if log_id == own and (own, changes) == self._newest_as_of and after >= self._newest:
            return own, after, Moved((), self._newest)
        told = await self._db(self._db_moved, log_id, after)
        self._newest_as_of, self._newest = (own, changes), told[2].newest
        return told

    def _db_moved(self, log_id: bytes, after: int) -> tuple[bytes, int, Moved]:
        """What was accepted after a number of that numbering, or all of it, if another one has begun since. With it:
        which numbering holds now, and from where on these are."""
        own = self.log_id
        begins = after if log_id == own else 0
        body_bytes = MAX_BODY_BYTES if self._ground.rights.exchanges else 0
        return own, begins, self._store.journal.moved_after(begins, HEADS_PER_PAGE, body_bytes)

    def _bodies(self, device: DeviceId, moved: Moved) -> tuple[bytes, ...]:
        """Those changesets of a page that travel with it: small ones that the device does not have yet."""
        bodies, left = [], MAX_BODIES_BYTES
        challenged = self._asked_of(device)
        for (number, head), body in zip(moved.heads, moved.bodies, strict=True):
            along = b"" if len(body) > left or self._ground.hearsay.knows(device, number) else body
            if along and challenged and decode_head_untrusted(head).cid in challenged:
                along = b""
            left -= len(along)
            bodies.append(along)
        sent = MAX_BODIES_BYTES - left
        self._ground.meter.sent_bytes += sent
        self._ground.meter.traffic.note(device, 0, sent)
        return tuple(bodies) if sent else ()

    def look_again(self) -> None:
        """Whoever waits for heads may have something else to hear."""
        self._ground.wake_askers()

    def asker_gone(self, device: DeviceId) -> None:
        """A device asks here no longer."""
        self._ground.peer_read.pop(device, None)  # nobody is told that it hears from us

    async def _wait_for_news(
        self, device: DeviceId, after: int, wait_s: float, is_due: Callable[[], bool] = lambda: False
    ) -> None:
        """Until something was accepted that a device does not know from elsewhere, or the roster has moved. The rest it
        hears with the next news, or a little later."""
        roster_head = self._store.membership.head
        with trio.move_on_after(wait_s) as patience:
            while self._ground.news_for(device) <= after and self._store.membership.head == roster_head:
                if is_due():
                    return
                if self._ground.newest > after:
                    patience.deadline = min(patience.deadline, trio.current_time() + ECHO_S)
                await self._ground.news.wait()

    async def have(self, cids: Sequence[Cid]) -> bytes:
        """Bitmap of blocks that are here."""
        bitmap = bytearray(await self._db(self._store.db_have, cids))
        staged = self._ground.puller.staged(cids)
        for index, cid in enumerate(cids if staged else ()):
            if cid in staged:
                bitmap[index // 8] |= 0x80 >> index % 8
        return bytes(bitmap)

    async def prove(self, device: DeviceId, request: ProveRequest) -> ProveAnswer:
        """See `FolderServer.prove`."""
        return await self._prover.answer(device, request)

    def _is_latest(self, device: DeviceId, word: int) -> bool:
        """Whether nothing that a device said later was here before: it says it on several connections."""
        known = self._words.get(device, 0)
        if known >> COUNTED_BITS == word >> COUNTED_BITS and word < known:
            return False
        self._words[device] = word
        return True

    def peer_needs_now(self, device: DeviceId, files: int, size: int, word: int) -> None:
        """A peer tells what it still lacks."""
        if not self._is_latest(device, word):
            return
        if self._ground.peer_needs.get(device) != (files, size):
            self._ground.has_more(device)  # what it lacked it may have now
        self._ground.peer_needs[device] = (files, size)
        if size and is_level((files, size)):
            self._ground.level_until.pop(device, None)
        self._ground.tell()

    def _was_level(self, device: DeviceId, *, is_further: bool) -> bool:
        """Whether a peer has told that it takes in nothing more, which is not so any more. One that is not whole cannot
        say with a question that it is so still: it is, unless it asks from further on."""
        told = self._ground.peer_needs.get(device)
        return told == LEVEL or (told is not None and is_level(told) and is_further)

    async def serve_blocks(self, cids: Sequence[Cid], device: DeviceId | None = None) -> AsyncIterator[Buffer]:
        """See `FolderServer.serve_blocks`. Each batch is read, encrypted and framed in one hop to a thread."""
        pace = self._ground.pace.up(device)
        if not self._ground.rights.exchanges:
            yield _busy(range(len(cids)))
            return
        served, at_once = await self._db(self._db_serve, cids, self._asked_of(device), pace.rate is None)
        if at_once is not None:
            self._note_sent(device, at_once)
            yield LastPiece(at_once.frames)
            return
        served = self._with_staged(cids, served)
        if asked := self._asked_of(device):
            yield _busy([index for index, cid in enumerate(cids) if cid in asked])
            served = [one for one in served if cids[one.index] not in asked]
        if pace.rate == 0:  # lists and changesets go out nevertheless: peers shall know what there is
            resting = [one.index for one in served if one.kind is BlockKind.DATA]
            served = [one for one in served if one.kind is not BlockKind.DATA]
            yield _busy(resting)
        batches = list(_batches(served))
        longest = max((one.entry.length for one in served if one.entry is not None), default=0)
        room = max(map(_room_of, batches), default=0)
        reader = SourceReader(self._store.tree, self._store.packs, self._store.keyring)
        changed: list[Served] = []
        try:
            with self._buffers.lend(longest) as plain, self._buffers.lend(room) as place:
                for batch in batches:
                    sealed = await self._blocking(self._seal, reader, batch, plain, place)
                    changed += sealed.changed
                    self._note_sent(device, sealed)
                    for piece in _pieces(sealed.frames, pace):
                        if batch[0].kind is BlockKind.DATA:
                            await pace.take(len(piece))
                        yield piece
        finally:
            reader.close()
            paths = [source.path for one in changed for source, _ in one.places if source.path]
            self._ground.look_again(paths)
            if paths:
                self._ground.doubt(paths)

    def _with_staged(self, cids: Sequence[Cid], served: list[Served]) -> list[Served]:
        """What is nowhere may have arrived for a file that is not complete yet."""
        lacking = [cids[one.index] for one in served if one.entry is None and one.ciphertext is None]
        staged = self._ground.puller.staged(lacking) if lacking else {}
        for at, one in enumerate(served if staged else ()):
            if cids[one.index] in staged:
                entry, places = staged[cids[one.index]]
                served[at] = Served(one.index, BlockKind.DATA, entry, places=places)
        return served

    def _db_serve(
        self, cids: Sequence[Cid], asked: frozenset[Cid], is_unlimited: bool
    ) -> tuple[list[Served], _Sealed | None]:
        """Where blocks are; and their frames if that is little, which costs no second visit to a thread then."""
        served = self._store.db_locate(cids)
        if any(one.entry is None and one.ciphertext is None for one in served):
            return served, None  # it may have come for a file that is not complete yet
        room = _room_of(served)
        if room > AT_ONCE_BYTES or not is_unlimited or not asked.isdisjoint(cids):
            return served, None
        reader = SourceReader(self._store.tree, self._store.packs, self._store.keyring)
        longest = max((one.entry.length for one in served if one.entry is not None), default=0)
        try:
            sealed = self._seal(reader, served, memoryview(bytearray(longest)), memoryview(bytearray(room)))
        finally:
            reader.close()
        return served, None if sealed.changed else sealed

    def _note_sent(self, device: DeviceId | None, sealed: _Sealed) -> None:
        self._ground.meter.sent_bytes += sealed.ciphertext_bytes
        if device is not None:
            self._ground.meter.traffic.note(device, 0, sealed.ciphertext_bytes)

    def _asked_of(self, device: DeviceId | None) -> frozenset[Cid]:
        """Blocks that this device is proving at this moment; of one without a name, what anybody proves."""
        challenged = self._ground.challenged
        return frozenset().union(*challenged.values()) if device is None else challenged.get(device, frozenset())

    def _seal(self, reader: SourceReader, batch: Sequence[Served], plain: memoryview, place: memoryview) -> _Sealed:
        end = ciphertext_bytes = 0
        changed = []
        for served in batch:
            target = place[end + HEAD_BYTES :]
            status, length = seal_served(reader, self._store.keyring, served, plain, target)
            end = write_frame_head(place, end, served.index, FrameStatus(status), length)
            ciphertext_bytes += length
            if status == FrameStatus.CHANGED:
                changed.append(served)
        return _Sealed(place[:end], ciphertext_bytes, changed)


def _pieces(frames: memoryview, pace: Pacers) -> Iterator[memoryview]:
    """Small ones while the speed is limited, so that what leaves is even."""
    step = max(1, len(frames)) if pace.rate is None else PIECE_BYTES
    return (frames[start : start + step] for start in range(0, len(frames), step))


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A batch of frames, ready to be sent; `changed`: blocks whose files are to be looked at again."""

    frames: memoryview
    ciphertext_bytes: int
    changed: Sequence[Served]


def _busy(indexes: Sequence[int]) -> memoryview:
    place = memoryview(bytearray(len(indexes) * HEAD_BYTES))
    for at, index in enumerate(indexes):
        write_frame_head(place, at * HEAD_BYTES, index, FrameStatus.BUSY, 0)
    return place


def _batches(served: Sequence[Served]) -> Iterator[Sequence[Served]]:
    """What is sealed in one go: about a megabyte each."""
    start = size = 0
    for at, one in enumerate(served):
        if at > start and size >= SERVE_BYTES:
            yield served[start:at]
            start, size = at, 0
        size += one.most_bytes
    if start < len(served):
        yield served[start:]


def _room_of(batch: Sequence[Served]) -> int:
    return room_for([one.most_bytes for one in batch])
