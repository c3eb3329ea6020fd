"""Async. Contents that nobody has any more: after a while they are a named problem, and nothing that is waited for.

A version was announced, and before anybody had fetched it, its author wrote over it and lost his database, say. Nobody
who is connected has its blocks, not even the computer where it was written: there is nothing to wait for. It is still
asked for now and then, since somebody who was away may bring it.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from syncd.folder.ground import Ground
from syncd.store import counts
from syncd.store.prepare import Want

LOOK_S = 15.0
PATIENCE_S = 60.0
"""What its author has just written over is followed by a newer version within that time."""
RETRY_S = 30.0


class Lacking:
    """Gives up waiting for contents of one folder that are kept nowhere."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._since: dict[bytes, float] = {}
        """By token, since when a content has been with nobody, its author included."""
        self._given_up: set[bytes] = set()
        """Those that were asked for in vain before: they are not waited for again."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            if self._ground.links and (self._ground.puller.busy or self._ground.puller.starved):
                await self._look()
            else:
                self._since.clear()

    async def _look(self) -> None:
        now = trio.current_time()
        gone = await self._with_their_authors(self._ground.puller.with_nobody())
        self._since = {want.token: self._since.get(want.token, now) for want in gone}
        given_up = [w for w in gone if self._since[w.token] <= now - PATIENCE_S or w.token in self._given_up]
        if given_up:
            self._given_up |= {want.token for want in given_up}
            await self._ground.db(self._note, given_up)
            await self._ground.puller.let_go(given_up)
            await self._ground.recount()
            self._ground.wake_plan()
            self._ground.tell()

    async def _with_their_authors(self, wants: Sequence[Want]) -> list[Want]:
        """Those of which whoever wrote them is here to be asked, or we did ourselves."""
        if not wants:
            return []
        journal = self._ground.store.journal
        authors = await self._ground.db(lambda: [journal.sources[want.cs].device for want in wants])
        here = {journal.device, *self._ground.links}
        return [want for want, author in zip(wants, authors, strict=True) if author in here]

    def _note(self, wants: Sequence[Want]) -> None:
        journal, connection = self._ground.store.journal, self._ground.store.connection
        for want in wants:
            source = journal.sources[want.cs]
            where = "this computer" if source.device == journal.device else f"that of {source.author_name}"
            why = f"nobody who is connected has kept this version, and it is gone on {where}, where it was written"
            fix = "nothing; it comes if somebody who was away brings it"
            counts.db_note_problem(
                connection,
                want.node,
                want.path,
                "SY-FILE-11",
                why,
                fix,
                self._ground.clock.now(),
                RETRY_S,
                lasting=True,
            )
