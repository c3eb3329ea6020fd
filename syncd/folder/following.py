"""Async. Taking in what peers tell: heads are followed, changesets fetched, checked and joined in causal order."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import compress
from math import inf

import trio

from ca.values import dataclass
from syncd.errors import PeerUnavailable, RemoteProtocolError, TrustError
from syncd.folder.ground import COUNTED_BITS, LEVEL, Ground, LinkState, is_level
from syncd.folder.lacking import Lacking
from syncd.model.cipher import max_ciphertext
from syncd.model.heads import Head, decode_head_untrusted, encode_head, verify_head
from syncd.model.ids import Cid
from syncd.protocol.exchange import FrameStatus, HeadsPage, Link
from syncd.store import counts
from syncd.store.apart import has_left_out
from syncd.store.db import Transaction
from syncd.store.folder import Arrived
from syncd.store.journal import Accepted, Verdict
from syncd.store.keyring import EpochKeyMissing

log = logging.getLogger("syncd.folder")

HEADS_AT_ONCE = 64
BODIES_BYTES = 4 << 20
"""Of changesets that are opened and joined together, compressed as they travel."""
PACE_S = 0.1
NEEDS_S = 1.0
LEVEL_S = 0.25
"""So long a peer waits at most to be asked for more, after it has told all that it had."""
MUCH_BYTES = 1 << 20
CURSOR_STEP = 64
"""Heads that were all known move the place where we go on after a restart only so often: each time is a flush."""
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0


class Taken(Enum):
    """How far a page of heads was taken in."""

    WHOLE = "all of it"
    LATER = "something has to come first: the roster, or what another peer has"
    CALLED = "what has to come first may be something that was left out here"
    MORE_IS_CALLED = "the same, and the search for it has come further"


_NOT_TAKEN = (Verdict.ROSTER, Verdict.EARLY, Verdict.REFUSED)
"""Of these a peer has to tell again."""


@dataclass(frozen=True, slots=True)
class _Intake:
    """What came of some changesets, in their order. Everything numbered above `newest_before` is of them."""

    verdicts: Sequence[Accepted]
    newest_before: int
    newest: int
    refused: RemoteProtocolError | None
    lacks_key: bool


class Follower:
    """Follows the peers of one folder."""

    def __init__(self, ground: Ground, lacking: Lacking) -> None:
        self._ground = ground
        self._lacking = lacking
        self._store = ground.store
        self._db = ground.db
        self._blocking = ground.workers.run_blocking
        self._puller = ground.puller
        self._intake = trio.Lock()

    async def run_link(self, link: Link) -> None:
        """Exchange with one peer until its connection is lost or cancelled."""
        state = self._ground.links[link.device] = LinkState(link, words=self._ground.now_ms() << COUNTED_BITS)
        if self._ground.lacks_lists:
            self._ground.unlisted.set()
        self._ground.tell()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow, state)
                nursery.start_soon(self._tell_needs, state)
                nursery.start_soon(self._puller.run_link, link)
                nursery.start_soon(self._lacking.ask_of, state)
        except* PeerUnavailable as lost:
            log.debug("folder %s: %s", self._ground.name, lost.exceptions[0])
        finally:
            if self._ground.links.get(link.device) is state:
                del self._ground.links[link.device]
                if self._ground.peer_is_whole(link.device):
                    self._ground.level_until[link.device] = self._ground.clock.now()
                self._ground.peer_needs.pop(link.device, None)
                self._ground.peer_read.pop(link.device, None)
            self._ground.tell()

    async def _follow(self, state: LinkState) -> None:
        """Take in what a peer has accepted, and wait for more."""
        link = state.link
        log_id, after = await self._db(counts.db_cursor, self._store.connection, link.device)
        state.kept_log, state.kept = log_id, after
        wait_s = 0.0
        while True:
            asked_at = trio.current_time()
            state.words += 1
            needs = self._ground.needs
            word, is_whole = (state.words, needs == LEVEL) if log_id else (0, False)
            if is_whole or state.told_needs == LEVEL:
                state.told_needs = LEVEL if is_whole else None
            elif is_level(needs):
                state.told_needs = None  # a question can say that nothing is lacking, and no more than that
                state.needs_moved.set()
            page = await link.heads(log_id, after, word, is_whole)
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
            if after >= state.kept + CURSOR_STEP or log_id != state.kept_log:
                await self._db(counts.db_keep_cursor, self._store.connection, link.device, log_id, after)
                state.kept_log, state.kept = log_id, after
            if after >= page.newest and not state.reached:
                state.reached = True
                self._ground.may_scan.set()
            if page.heads:
                self._ground.has_more(link.device)
                state.told_needs = None
            self._ground.tell()
            if page.heads and after >= page.newest:
                await self._come_level(state)

    async def _come_level(self, state: LinkState) -> None:
        """Give this disk a moment for what was told, so that the next question says as well that it is done."""
        state.comes_level = True
        with trio.move_on_after(LEVEL_S):
            while not is_level(self._ground.needs):
                await self._ground.changed()
        state.comes_level = False
        state.needs_moved.set()

    async def _tell_needs(self, state: LinkState) -> None:
        """Let the peer know what we still lack: at once when nothing is lacking, and then again after any news from it;
        else at most once a second, and little only when it has been lacking for so long.

        One that lacks something itself is told of parts of files as well: it may have these from us."""
        ground, device = self._ground, state.link.device
        while True:
            state.needs_moved, state.patience_bytes = trio.Event(), -1.0
            lacks_too = not is_level(ground.peer_needs.get(device, LEVEL))
            needs, now = ground.needs, trio.current_time()
            if is_level(needs):
                due = now
            else:
                lacks_much = needs[1] > MUCH_BYTES
                due = max(state.told_at, -inf if lacks_much else ground.lacks_since or now) + NEEDS_S
                needs = needs[0], max(0, needs[1] - (self._puller.partial_bytes if lacks_too else 0))
            if needs != state.told_needs and due <= now and not (is_level(needs) and state.comes_level):
                state.told_needs, state.told_at = needs, state.told_at if is_level(needs) else now
                state.words += 1
                await state.link.tell_needs(*needs, state.words)
                continue
            if due > now:
                state.patience_bytes = inf if due == state.told_at + NEEDS_S else MUCH_BYTES
            looks_again = now + NEEDS_S if lacks_too and self._puller.busy else inf
            with trio.move_on_at(due if due > now else looks_again):
                await state.needs_moved.wait()

    async def _take_page(self, state: LinkState, page: HeadsPage) -> Taken:
        if not page.heads:
            return Taken.WHOLE
        news = [raw for raw in page.heads if raw not in self._ground.known_heads]
        if not news:
            return Taken.WHOLE
        heads = [self._check_head_untrusted(state.link, raw) for raw in news]
        bodies = dict(zip(page.heads, page.bodies, strict=True)) if page.bodies else {}
        along = {head.cid: bodies[raw] for head, raw in zip(heads, news, strict=True) if bodies.get(raw)}
        if any(len(along.get(head.cid, b"")) > max_ciphertext(head.length) for head in heads):
            raise RemoteProtocolError("a changeset longer than its head announces")
        self._ground.meter.received_bytes += sum(map(len, along.values()))
        async with self._intake:
            unknown, intake = await self._db(self._db_look, state, heads, along, page)
            if intake is not None:
                return await self._taken(state, unknown, intake, page)
            parts = list(_batches_of_heads(unknown))
            for part in parts:
                taken = await self._take_heads(state, part, along, page, is_last=part is parts[-1])
                if taken is not Taken.WHOLE:
                    return taken
        return Taken.WHOLE

    def _db_look(
        self, state: LinkState, heads: Sequence[Head], along: Mapping[Cid, bytes], page: HeadsPage
    ) -> tuple[Sequence[Head], _Intake | None]:
        """Of these heads those that are not known here; they are taken in at once if their bodies have come as well."""
        unknown = self._store.db_unknown(heads, state.called, self._ground.now_ms())
        if not unknown or any(head.cid not in along for head in unknown):
            return unknown, None
        return unknown, self._db_take(state, unknown, along, page)

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

    async def _take_heads(
        self, state: LinkState, heads: Sequence[Head], along: Mapping[Cid, bytes], page: HeadsPage, *, is_last: bool
    ) -> Taken:
        """`along`: bodies that came with the page. `is_last`: with these heads all of it is taken in."""
        lacking = [head for head in heads if head.cid not in along]
        bodies = {**along, **await self._fetch_bodies(state.link, lacking)} if lacking else along
        intake = await self._db(self._db_take, state, heads, bodies, page if is_last else None)
        return await self._taken(state, heads, intake, page)

    async def _taken(self, state: LinkState, heads: Sequence[Head], intake: _Intake, page: HeadsPage) -> Taken:
        """Tell of what was taken in; how far these heads were."""
        link = state.link
        if intake.lacks_key:
            self._ground.on_roster_needed(link.device)
        if not intake.verdicts:
            if intake.refused is not None:
                raise intake.refused
            return Taken.LATER
        for head, accepted in zip(heads, intake.verdicts, strict=False):
            self._note_verdict(head, accepted)
        applied = [one.verdict is Verdict.APPLIED for one in intake.verdicts]
        self._ground.note_heads(map(encode_head, compress(heads, applied)))
        by = link.device if self._ground.newest >= intake.newest_before else None
        self._ground.announce(intake.newest, by, page.told)
        self._ground.wake_plan()
        if intake.refused is not None:
            raise intake.refused
        behind = any(accepted.verdict in (Verdict.ROSTER, Verdict.EARLY) for accepted in intake.verdicts)
        if behind:
            self._ground.on_roster_needed(link.device)
        lacks = [hash_ for accepted in intake.verdicts for hash_ in accepted.lacks]
        misses: bool = bool(lacks) and await self._db(has_left_out, self._store.connection)
        if misses:
            return Taken.MORE_IS_CALLED if state.called.add(lacks) else Taken.CALLED
        return Taken.LATER if behind or len(intake.verdicts) < len(heads) else Taken.WHOLE

    def _db_take(
        self, state: LinkState, heads: Sequence[Head], bodies: Mapping[Cid, bytes], page: HeadsPage | None
    ) -> _Intake:
        """Open changesets and join them, as far as they came and can be opened, in one visit to the rows; where all
        went well that is also how far the peer was followed."""
        arrived, refused, lacks_key = [], None, False
        for head in heads:
            body = bodies.get(head.cid)
            if body is None:
                break
            try:
                arrived.append(Arrived(head, self._store.open_changeset_untrusted(head, body), body))
            except EpochKeyMissing:
                lacks_key = True
                break
            except RemoteProtocolError as error:
                refused = error  # those before it are fine
                break
        before = self._store.journal.newest_seq()
        if not arrived:
            return _Intake((), before, before, refused, lacks_key)
        connection = self._store.connection
        with Transaction(connection):
            verdicts = self._store.accept(arrived, state.called, self._ground.now_ms())
            is_whole = len(verdicts) == len(heads) and all(one.verdict not in _NOT_TAKEN for one in verdicts)
            if page is not None and is_whole:
                counts.db_keep_cursor(connection, state.link.device, page.log, page.last)
                state.kept_log, state.kept = page.log, page.last
        return _Intake(tuple(verdicts), before, self._store.journal.newest_seq(), refused, lacks_key)

    def _note_verdict(self, head: Head, accepted: Accepted) -> None:
        if accepted.verdict in (Verdict.APPLIED, Verdict.KNOWN, Verdict.LEFT_OUT):
            return
        log.warning(
            "folder %s: changeset %s of %s: %s",
            self._ground.name,
            head.counter,
            head.device.hex()[:8],
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
