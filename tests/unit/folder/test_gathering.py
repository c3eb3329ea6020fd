"""Blocks of old versions are asked of peers that may be slow, or hang."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from syncd.folder.gathering import FETCH_BYTES, PATIENCE_S, fetch
from syncd.model.ids import Cid, Pid
from syncd.model.lists import EPOCH_PREFIX_BYTES, Entry
from syncd.protocol.exchange import Frame, FrameStatus
from syncd.seams import Buffer
from syncd.store.pruning import Rewritten, Scrubbed, db_retire_damaged
from tests.helpers.tasks import EPOCH, MOMENT, DirectLink, World

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


class Liar(DirectLink):
    """It has everything, and sends rubbish."""

    async def have(self, cids: Sequence[Cid]) -> bytes:
        return b"\xff" * len(cids)

    @asynccontextmanager
    async def blocks(
        self, cids: Sequence[Cid], limits: Sequence[int], place: memoryview | None = None
    ) -> AsyncIterator[AsyncIterator[Sequence[Frame]]]:
        yield self._rubbish(limits)

    async def _rubbish(self, limits: Sequence[int]) -> AsyncIterator[Sequence[Frame]]:
        yield [Frame(index, FrameStatus.OK, memoryview(bytes(limit))) for index, limit in enumerate(limits)]


@pytest.mark.parametrize("is_part", [False, True])
@pytest.mark.parametrize("has_another", [False, True])
async def test_what_is_not_what_it_should_be_has_not_come_and_another_is_asked(
    autojump_clock: MockClock, has_another: bool, is_part: bool
) -> None:
    world = World(["ann", "bob", "cid"])
    async with world.running():
        ann, bob, _ = world
        ann.disk.write((b"plan",), b"wanted")
        await world.settle()
        store = bob.task.store
        content = store.open_changeset_untrusted(*store.journal.sealed_body(1)).records[0].content
        assert content is not None
        wanted = list(content.list)
        for device in list(bob.task.links)[: 1 if has_another else 2]:  # the first who are asked
            bob.task.links[device].link = Liar(bob.device, ann.task, device, float)
        parts = frozenset(entry.cid for entry in wanted) if is_part else frozenset[bytes]()
        came = has_another and not is_part  # nobody has parts of a list that is short
        assert await fetch(bob.task, wanted, parts) == came
        assert len(store.packs.db_packed([entry.pid for entry in wanted])) == came


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


async def test_what_came_is_on_the_shelf_although_the_same_went_meanwhile(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same blocks make the same pack, with the same name, and a collection may just be taking that away."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write((b"plan",), b"wanted")
        await world.settle()
        store = bob.task.store
        head, body = store.journal.sealed_body(1)
        content = store.open_changeset_untrusted(head, body).records[0].content
        assert content is not None
        wanted = list(content.list)
        assert await fetch(bob.task, wanted, frozenset()) == 1
        put = store.packs.shelf.put
        gone: list[str] = []

        def put_and_lose(name: str, content: Buffer) -> None:
            put(name, content)
            if not gone:
                gone.append(name)
                db_retire_damaged(store, Scrubbed(name, False), Rewritten((), ()), MOMENT)

        monkeypatch.setattr(store.packs.shelf, "put", put_and_lose)
        assert await fetch(bob.task, wanted, frozenset()) == 1
        ((name,),) = store.connection.execute("SELECT name FROM pack")
        assert gone == [name]
        assert [name for name, _ in store.packs.shelf.list()] == [name]
