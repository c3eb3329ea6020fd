"""Async. Contents that nobody has any more: after a while they are a named problem, and nothing that is waited for.

A version was announced, and before anybody had fetched it, its author wrote over it and lost his database, say. Nobody
who is connected has its blocks, not even the computer where it was written: there is nothing to wait for.

Somebody who was away may bring it. Whoever is linked, or tells that he has got something more, is asked for one block
of each such content, and those of which he has that block are planned again at once. So a question costs 32 bytes for
each, stages nothing, and lets the folder be in sync as long as the answer is no. A peer is asked so again only after a
rest, however often it comes and goes. All of them are planned now and then nevertheless, ever more rarely.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ca.ids import DeviceId
from syncd.folder.gathering import held_by
from syncd.folder.ground import Ground, LinkState
from syncd.model.ids import Cid
from syncd.protocol.exchange import Link
from syncd.store import counts
from syncd.store.db import Transaction
from syncd.store.prepare import Want

LOOK_S = 15.0
PATIENCE_S = 60.0
"""What its author has just written over is followed by a newer version within that time."""
RETRY_S = 30.0
GATHER_S = 1.0
"""A link begins with news and with words on what is lacking: one question is enough for all of these."""
ASKED_AT_ONCE = 4096
REST_S = 5.0
"""For each so many that a peer was asked for: of a hundred thousand it is asked every two minutes at most."""


class Lacking:
    """Gives up waiting for contents of one folder that are kept nowhere, and asks for them whoever may bring them."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._since: dict[bytes, float] = {}
        """By token, since when a content has been with nobody, its author included."""
        self._aside_since: dict[bytes, float] = {}
        """The same of those that were put aside, so that others could be asked for: they are asked for in turns."""
        self._given_up: set[bytes] = set()
        """Those that were asked for in vain before: they are not waited for again."""
        self._rests_until: dict[DeviceId, float] = {}
        """Who was asked for what was given up, and until when it is not asked again."""
        ground.puller.on_aside = self.put_aside

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            if self._ground.links and (self._ground.puller.busy or self._ground.puller.starved):
                await self._look()
            else:
                self._since.clear()
                self._aside_since.clear()

    async def _look(self) -> None:
        now = trio.current_time()
        gone = await self._with_their_authors(self._ground.puller.with_nobody())
        self._since = {want.token: self._known_since(want.token, now) for want, _ in gone}
        given_up = self._given_up_of(gone, now)
        if given_up:
            await self._ground.db(self._note, given_up)
            await self._ground.puller.let_go([want for want, _ in given_up])
            await self._ground.recount()
            self._ground.wake_plan()
            self._ground.tell()

    async def put_aside(self, wants: Sequence[tuple[Want, Cid]]) -> set[int]:
        """There are more than can be asked for at a time, so these make room for others; which nodes are given up."""
        if not self._ground.links:
            return set()
        now = trio.current_time()
        gone = await self._with_their_authors(wants)
        since = {want.token: self._known_since(want.token, now) for want, _ in gone}
        for want, _ in wants:
            self._aside_since.pop(want.token, None)
        self._aside_since |= since
        given_up = self._given_up_of(gone, now)
        if given_up:
            await self._ground.db(self._note, given_up)
            await self._ground.recount()
            self._ground.tell()
        return {want.node for want, _ in given_up}

    def _known_since(self, token: bytes, now: float) -> float:
        return min(self._since.get(token, now), self._aside_since.get(token, now))

    def _given_up_of(self, gone: Sequence[tuple[Want, Cid]], now: float) -> list[tuple[Want, Cid]]:
        """Those that nobody has had for long, or that were asked for in vain before."""
        long_ago = now - PATIENCE_S
        given_up = [
            (want, cid)
            for want, cid in gone
            if want.token in self._given_up or self._known_since(want.token, now) <= long_ago
        ]
        for want, _ in given_up:
            self._given_up.add(want.token)
            self._aside_since.pop(want.token, None)
        return given_up

    async def _with_their_authors(self, wants: Sequence[tuple[Want, Cid]]) -> list[tuple[Want, Cid]]:
        """Those of which whoever wrote them is here to be asked, or we did ourselves, or nobody in the folder did."""
        if not wants:
            return []
        journal = self._ground.store.journal
        authors = await self._ground.db(lambda: [journal.sources[want.cs].device for want, _ in wants])
        away = self._ground.store.others - self._ground.links.keys()
        return [one for one, author in zip(wants, authors, strict=True) if author not in away]

    def _note(self, wants: Sequence[tuple[Want, Cid]]) -> None:
        journal, connection = self._ground.store.journal, self._ground.store.connection
        now = self._ground.clock.now()
        fix = "nothing; it comes if somebody who was away brings it"
        with Transaction(connection):
            for want, cid in wants:
                source = journal.sources[want.cs]
                where = "this computer" if source.device == journal.device else f"that of {source.author_name}"
                lost = f"it is gone on {where}, where it was written"
                if source.device not in {journal.device, *self._ground.links}:
                    lost = f"its author {source.author_name} takes part no more"
                why = f"nobody who is connected has kept this version, and {lost}"
                counts.db_note_problem(
                    connection, want.node, want.path, "SY-FILE-11", why, fix, now, RETRY_S, lasting=True, lacks=cid
                )

    # asking for it again -------------------------------------------------------------------------------------

    async def ask_of(self, state: LinkState) -> None:
        """Ask a peer once it is linked, and whenever it may have got more. Until cancelled, or its link is lost."""
        while True:
            await trio.sleep(GATHER_S)
            await trio.sleep_until(self._rests_until.get(state.link.device, 0.0))
            state.has_more = trio.Event()
            may_lack = bool(self._ground.problems) or self._ground.counts_are_stale
            if may_lack and self._ground.rights.exchanges:
                await self._ask(state.link)
            await state.has_more.wait()

    async def _ask(self, link: Link) -> None:
        ground, began = self._ground, trio.current_time()
        connection = ground.store.connection
        after, pages = None, 0
        while part := await ground.db(counts.db_lacked, connection, ground.clock.now(), after, ASKED_AT_ONCE):
            after, pages = part[-1], pages + 1
            self._rests_until[link.device] = began + pages * REST_S
            held = await held_by(link, [one.cid for one in part])
            there = [one for one in part if one.cid in held]
            if there:
                await ground.db(counts.db_can_be_had, connection, there)
                ground.can_be_had()
