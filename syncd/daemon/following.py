"""Async. Taking in what peers tell: heads are followed, changesets fetched, checked and joined in causal order."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from enum import Enum
from math import inf

import trio

from syncd.daemon.ground import Ground, LinkState
from syncd.errors import PeerUnavailable, RemoteProtocolError, TrustError
from syncd.model.cipher import max_ciphertext
from syncd.model.heads import Head, decode_head_untrusted, verify_head
from syncd.model.ids import Cid
from syncd.protocol.exchange import FrameStatus, HeadsPage, Link
from syncd.store import counts
from syncd.store.apart import has_left_out
from syncd.store.folder import Arrived
from syncd.store.journal import Accepted, Verdict
from syncd.store.keyring import EpochKeyMissing

log = logging.getLogger("syncd.folder")

HEADS_AT_ONCE = 64
BODIES_BYTES = 4 << 20
"""Of changesets that are opened and joined together, compressed as they travel."""
PACE_S = 0.1
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0


class Taken(Enum):
    """How far a page of heads was taken in."""

    WHOLE = "all of it"
    LATER = "something has to come first: the roster, or what another peer has"
    CALLED = "what has to come first may be something that was left out here"
    MORE_IS_CALLED = "the same, and the search for it has come further"


class Follower:
    """Follows the peers of one folder."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._store = ground.store
        self._db = ground.db
        self._blocking = ground.workers.run_blocking
        self._puller = ground.puller
        self._intake = trio.Lock()

    async def run_link(self, link: Link) -> None:
        """Exchange with one peer until its connection is lost or cancelled."""
        state = self._ground.links[link.device] = LinkState(link)
        self._ground.tell()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow, state)
                nursery.start_soon(self._tell_needs, link)
                nursery.start_soon(self._puller.run_link, link)
        except* PeerUnavailable as lost:
            log.debug("folder %s: %s", self._ground.name, lost.exceptions[0])
        finally:
            if self._ground.links.get(link.device) is state:
                del self._ground.links[link.device]
                if self._ground.peer_is_level(link.device):
                    self._ground.level_until[link.device] = self._ground.clock.now()
                self._ground.peer_needs.pop(link.device, None)
                self._ground.peer_read.pop(link.device, None)
            self._ground.tell()

    async def _follow(self, state: LinkState) -> None:
        """Take in what a peer has accepted, and wait for more."""
        link = state.link
        log_id, after = await self._db(counts.db_cursor, self._store.connection, link.device)
        wait_s = 0.0
        while True:
            asked_at = trio.current_time()
            page = await link.heads(log_id, after)
            if page.log != log_id:
                log_id, after = page.log, 0
                if page.last and not page.heads:
                    await trio.sleep(PACE_S)
                    continue
            elif page.last < after or (page.heads and page.last == after):
                raise RemoteProtocolError("a page of heads that leads back")
            taken = await self._take_page(state, page)
            if taken is not Taken.WHOLE:
                await trio.sleep(FIRST_WAIT_S)  # the roster has to catch up first
                with trio.move_on_after(wait_s):
                    await self._ground.news.wait()
                wait_s = min(2 * wait_s + FIRST_WAIT_S, LONGEST_WAIT_S)
                if taken is Taken.MORE_IS_CALLED:
                    wait_s = 0.0
                if taken is not Taken.LATER:
                    after = 0  # what was left out is told once more
                continue
            wait_s = 0.0
            if not page.heads and trio.current_time() < asked_at + PACE_S:
                await trio.sleep(PACE_S)  # whoever has no news is to wait with the answer
            after = page.last
            await self._db(counts.db_keep_cursor, self._store.connection, link.device, log_id, after)
            state.newest = max(state.newest, page.newest)
            if after >= page.newest and not state.reached:
                state.reached = True
                self._ground.may_scan.set()
            if page.heads:
                self._puller.peers_have_more(link.device)
            self._ground.tell()

    async def _tell_needs(self, link: Link) -> None:
        """Let the peer know what we still lack: at most once a second, and at once when nothing is lacking.

        One that lacks something itself is told of parts of files as well: it may have these from us."""
        told: tuple[int, int] | None = None
        while True:
            changed = self._ground.changed_soon()
            level = self._ground.is_settled and self._ground.heads_reached
            lacks_too = self._ground.peer_needs.get(link.device, (0, 0)) != (0, 0)
            partial = self._puller.partial_bytes if lacks_too else 0
            lacking = max(0, self._ground.counts.need_bytes - partial)
            needs = (0, 0) if level else (max(1, self._ground.counts.need_files), lacking)
            if needs != told:
                await link.tell_needs(*needs)
                told = needs
                await trio.sleep(0 if needs == (0, 0) else 1)
                continue
            with trio.move_on_after(1 if lacks_too and self._puller.busy else inf):
                await changed.wait()

    async def _take_page(self, state: LinkState, page: HeadsPage) -> Taken:
        if not page.heads:
            return Taken.WHOLE
        heads = [self._check_head_untrusted(state.link, raw) for raw in page.heads]
        async with self._intake:
            unknown = await self._db(self._store.db_unknown, heads, state.called, self._ground.now_ms())
            for part in _batches_of_heads(unknown):
                taken = await self._take_heads(state, part)
                if taken is not Taken.WHOLE:
                    return taken
        return Taken.WHOLE

    def _check_head_untrusted(self, link: Link, raw: bytes) -> Head:
        head = decode_head_untrusted(raw)
        if head.folder != self._store.keyring.folder:
            raise RemoteProtocolError("a head of another folder")
        key = self._store.membership.sign_key(head.device)
        if key is None:
            self._ground.on_roster_needed(link.device)
            raise PeerUnavailable("a head by a device that our roster does not know yet")
        try:
            verify_head(head, key)
        except TrustError as error:
            raise RemoteProtocolError("a head with a wrong signature") from error
        return head

    async def _take_heads(self, state: LinkState, heads: Sequence[Head]) -> Taken:
        link = state.link
        bodies = await self._fetch_bodies(link, heads)
        arrived = []
        refused: RemoteProtocolError | None = None
        for head in heads:
            body = bodies.get(head.cid)
            if body is None:
                break
            try:
                changeset = await self._blocking(self._store.open_changeset_untrusted, head, body)
            except EpochKeyMissing:
                self._ground.on_roster_needed(link.device)
                break
            except RemoteProtocolError as error:
                refused = error  # those before it are fine
                break
            arrived.append(Arrived(head, changeset, body))
        if refused is not None and not arrived:
            raise refused
        if not arrived:
            return Taken.LATER
        verdicts = await self._db(self._store.db_accept, arrived, state.called, self._ground.now_ms())
        for one, accepted in zip(arrived, verdicts, strict=True):
            self._note_verdict(link, one, accepted)
        self._ground.announce(await self._db(self._store.journal.newest_seq))
        self._ground.wake_plan()
        if refused is not None:
            raise refused
        behind = any(accepted.verdict in (Verdict.ROSTER, Verdict.EARLY) for accepted in verdicts)
        if behind:
            self._ground.on_roster_needed(link.device)
        lacks = [hash_ for accepted in verdicts for hash_ in accepted.lacks]
        misses: bool = bool(lacks) and await self._db(has_left_out, self._store.connection)
        if misses:
            return Taken.MORE_IS_CALLED if state.called.add(lacks) else Taken.CALLED
        return Taken.LATER if behind or len(arrived) < len(heads) else Taken.WHOLE

    def _note_verdict(self, link: Link, arrived: Arrived, accepted: Accepted) -> None:
        if accepted.verdict in (Verdict.APPLIED, Verdict.KNOWN, Verdict.LEFT_OUT):
            return
        log.warning(
            "folder %s: changeset %s of %s: %s",
            self._ground.name,
            arrived.head.counter,
            arrived.head.device.hex()[:8],
            accepted.verdict.value,
        )
        if accepted.verdict is Verdict.REFUSED:
            raise RemoteProtocolError(f"a changeset refused: {accepted.verdict.value}")

    async def _fetch_bodies(self, link: Link, heads: Sequence[Head]) -> dict[Cid, bytes]:
        cids = [head.cid for head in heads]
        limits = [max_ciphertext(head.length) for head in heads]
        bodies = {}
        async with link.blocks(cids, limits) as groups:
            async for frames in groups:
                for frame in frames:
                    if frame.status is FrameStatus.OK:
                        bodies[cids[frame.index]] = bytes(frame.ciphertext)
                        self._ground.meter.received_bytes += len(frame.ciphertext)
        return bodies


def _batches_of_heads(heads: Sequence[Head]) -> Iterator[Sequence[Head]]:
    """Heads whose bodies may be in memory together."""
    start = size = 0
    for at, head in enumerate(heads):
        if at > start and (at - start == HEADS_AT_ONCE or size + head.length > BODIES_BYTES):
            yield heads[start:at]
            start, size = at, 0
        size += head.length
    if start < len(heads):
        yield heads[start:]
