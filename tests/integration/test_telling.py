"""What travels with a page of heads: small changesets, and the word who else is told. So most news is one answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
import trio
from trio.testing import MockClock

from ca.ids import DeviceId
from syncd.folder.ground import Rights
from syncd.folder.serving import ECHO_S
from syncd.model.heads import decode_head_untrusted
from syncd.model.ids import Cid
from syncd.protocol.exchange import HeadsAsked, HeadsPage
from syncd.seams import Buffer
from tests.helpers.tasks import DirectLink, SimSite, World


def told_by(site: SimSite, pages: list[tuple[DeviceId, HeadsPage]]) -> None:
    """From now on, what this site hands to whom."""
    honest = site.task.server.heads_after

    async def heads_after(device: DeviceId, asked: HeadsAsked) -> HeadsPage:
        page = await honest(device, asked)
        pages.append((device, page))
        return page

    site.task.server.heads_after = heads_after  # type: ignore[method-assign]


def asked_of(site: SimSite, asked: list[Cid]) -> None:
    """From now on, the blocks that this site is asked for."""
    honest = site.task.server.serve_blocks

    async def serve_blocks(cids: Sequence[Cid], device: DeviceId | None = None) -> AsyncIterator[Buffer]:
        asked.extend(cids)
        async for frames in honest(cids, device):
            yield frames

    site.task.server.serve_blocks = serve_blocks  # type: ignore[method-assign]


async def first_page(site: SimSite, device: DeviceId) -> HeadsPage:
    return await site.task.server.heads_after(device, HeadsAsked(b"another numbering".ljust(16), 0, 0.0))


async def test_small_changeset_needs_no_request_of_its_own(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        await world.settle()
        asked: list[Cid] = []
        asked_of(world["ann"], asked)
        world["ann"].disk.mkdir((b"room",))
        await world.settle()
        assert (b"room",) in world["bob"].disk.contents()
        assert not asked
        world["ann"].disk.write((b"file",), b"content")
        await world.settle()
        assert world["bob"].disk.contents()[b"file",] == b"content"
        assert len(asked) == 1  # the content


async def test_nothing_travels_along_that_would_not_be_sent_if_it_were_asked_for(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        world["ann"].disk.mkdir((b"room",))
        await world.settle()
        ann, bob = world["ann"], world["bob"].device
        page = await first_page(ann, bob)
        heads = [decode_head_untrusted(raw) for raw in page.heads]
        assert all(page.bodies)
        assert len(page.bodies) == len(heads) > 0

        ann.task.challenged[bob] = frozenset([heads[-1].cid])
        assert not any((await first_page(ann, bob)).bodies[-1:])
        ann.task.challenged.clear()

        ann.task.use_rights(Rights(publishes=True, exchanges=False))
        doubted = await first_page(ann, bob)
        assert doubted.heads == page.heads
        assert not any(doubted.bodies)


async def test_who_is_told_by_the_author_is_not_told_again_at_once_but_before_long(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob", "cat"])
    async with world.running():
        pages: list[tuple[DeviceId, HeadsPage]] = []
        told_by(world["bob"], pages)
        await world.settle()
        await trio.sleep(2 * ECHO_S)
        world["bob"].disk.mkdir((b"bob's",))  # whoever asked before hears of this, and asks anew
        await trio.sleep(2 * ECHO_S)
        pages.clear()
        world["ann"].disk.mkdir((b"room",))
        await trio.sleep(ECHO_S / 2)
        world.demand_equal()
        assert not [page for device, page in pages if page.heads and device == world["cat"].device]
        await trio.sleep(ECHO_S)
        (echo,) = [page for device, page in pages if page.heads and device == world["cat"].device]
        assert not echo.bodies  # it has them


@pytest.mark.parametrize("seed", range(3))
async def test_who_was_not_told_in_spite_of_the_word_hears_it_from_the_others(
    autojump_clock: MockClock, seed: int
) -> None:
    world = World(["ann", "bob", "cat"], seed)
    async with world.running():
        await world.settle()
        await trio.sleep(2 * ECHO_S)
        for site in world:  # all say that everybody is told
            everybody = tuple(other.device for other in world)
            site.task.hear_too = lambda device, first, told=everybody: told  # type: ignore[method-assign,misc]
        for wire in world.between(world["ann"], world["cat"]):
            wire.cut()
        world["ann"].disk.mkdir((b"room",))
        await trio.sleep(ECHO_S / 2)
        assert (b"room",) in world["bob"].disk.contents()
        assert (b"room",) not in world["cat"].disk.contents()
        assert not world["bob"].task.peer_is_level(world["cat"].device)  # nobody knows that it has it
        await trio.sleep(ECHO_S)
        world.demand_equal()
        assert world["bob"].task.peer_is_level(world["cat"].device)


async def test_who_waits_for_a_peer_need_not_wait_for_the_echo(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob", "cat"])
    async with world.running():
        await world.settle()
        await trio.sleep(2 * ECHO_S)
        bob, cat = world["bob"].task, world["cat"].device
        world["ann"].disk.mkdir((b"room",))
        await trio.sleep(ECHO_S / 4)
        world.demand_equal()
        assert not bob.peer_is_level(cat)
        bob.tell_now(cat)
        await trio.sleep(ECHO_S / 4)
        assert bob.peer_is_level(cat)


def delayed(monkeypatch: pytest.MonkeyPatch, lag_s: float) -> None:
    """What somebody lacks is told on a slower connection than what there is."""
    honest = DirectLink.tell_needs

    async def tell_needs(self: DirectLink, files: int, size: int, word: int) -> None:
        await trio.sleep(lag_s)
        await honest(self, files, size, word)

    monkeypatch.setattr(DirectLink, "tell_needs", tell_needs)


@pytest.mark.parametrize("lag_s", [0.2, 0.5, 1.0])
async def test_word_that_comes_late_does_not_count_after_a_later_one(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, lag_s: float
) -> None:
    """Much is lacking, which is told at once; it comes before that was heard, which is told with the next question."""
    world = World(["ann", "bob"])
    async with world.running():
        await world.settle()
        delayed(monkeypatch, lag_s)
        world["ann"].disk.write((b"file",), bytes(2 << 20))
        await trio.sleep(20)
        world.demand_equal()
        assert world["ann"].task.peer_is_level(world["bob"].device)


@pytest.mark.parametrize("lag_s", [0.3, 1.0])
async def test_word_from_before_some_news_is_not_taken_for_one_about_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, lag_s: float
) -> None:
    world = World(["ann", "bob"])
    async with world.running(), trio.open_nursery() as nursery:
        ann, bob = world["ann"], world["bob"]
        await world.settle()
        delayed(monkeypatch, lag_s)
        gate = trio.Event()
        honest = ann.task.server.serve_blocks

        async def serve_blocks(cids: Sequence[Cid], device: DeviceId | None = None) -> AsyncIterator[Buffer]:
            await gate.wait()
            async for frames in honest(cids, device):
                yield frames

        ann.task.server.serve_blocks = serve_blocks  # type: ignore[method-assign]
        seen: list[bool] = []

        async def look() -> None:
            while True:
                await trio.sleep(0.01)
                if ann.task.counts.files == 2:
                    seen.append(ann.task.peer_is_level(bob.device))

        ann.disk.write((b"one",), b"1")
        await trio.sleep(3)
        gate.set()
        while (b"one",) not in bob.disk.contents():
            await bob.task.changed()
        gate = trio.Event()
        ann.disk.write((b"two",), b"2")
        nursery.start_soon(look)
        await trio.sleep(10)
        assert seen and not any(seen)
        gate.set()
        await trio.sleep(10)
        world.demand_equal()
        assert seen[-1]
        nursery.cancel_scope.cancel()
