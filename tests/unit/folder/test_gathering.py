"""Blocks of old versions are asked of peers that may be slow, or hang."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from syncd.folder.gathering import FETCH_BYTES, PATIENCE_S, fetch
from syncd.model.ids import Cid, Pid
from syncd.model.lists import EPOCH_PREFIX_BYTES, Entry
from syncd.protocol.exchange import Frame
from tests.helpers.tasks import EPOCH, DirectLink, World

BATCHES = 40


class Silent(DirectLink):
    """It has everything, and sends nothing."""

    asked = 0

    async def have(self, cids: Sequence[Cid]) -> bytes:
        return b"\xff" * len(cids)

    @asynccontextmanager
    async def blocks(
        self, cids: Sequence[Cid], limits: Sequence[int], place: memoryview | None = None
    ) -> AsyncIterator[AsyncIterator[Sequence[Frame]]]:
        self.asked += 1
        yield self._nothing()

    async def _nothing(self) -> AsyncIterator[Sequence[Frame]]:
        await trio.sleep(BATCHES * PATIENCE_S)
        yield []


async def test_peer_that_hangs_is_not_asked_for_the_rest(autojump_clock: MockClock) -> None:
    """Else a person who wants gigabytes back waits for hours."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        await world.settle()
        link = Silent(ann.device, bob.task, bob.device, float)
        ann.task.links[bob.device].link = link
        entries = [
            Entry(Pid(name), Cid(name), FETCH_BYTES, EPOCH[:EPOCH_PREFIX_BYTES])
            for name in (bytes([number]) * 32 for number in range(BATCHES))
        ]
        began = trio.current_time()
        assert await fetch(ann.task, entries, frozenset()) == 0
        assert link.asked == 2, "once more when others were looked for"
        assert trio.current_time() - began <= 2 * PATIENCE_S + 1
