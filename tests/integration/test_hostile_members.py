"""A member with all keys and the right to write who means harm: what it sends ends its own link and stops no folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from ca.ids import DeviceId
from syncd.errors import RemoteProtocolError
from syncd.folder.ground import Rights
from syncd.model.changesets import SealedChangeset
from syncd.model.cipher import BlockKind, Sealed, max_ciphertext
from syncd.model.cutter import CutClass
from syncd.model.heads import encode_head, sign_head
from syncd.model.ids import ROOT_NODE, Cid, NodeId
from syncd.model.lists import pack_entry, split_list
from syncd.model.records import Attributes, Place, Record, file_of_parts
from syncd.protocol.exchange import Frame, FrameStatus, HeadsAsked, HeadsPage
from syncd.protocol.frames import FrameReader, pack_frame
from syncd.protocol.possession import ProveAnswer, ProveRequest
from syncd.store.folder import Arrived
from tests.helpers.authors import Author, directory
from tests.helpers.tasks import EPOCH, ROSTER_HEAD, SimSite, World, keyring

LOG = b"L" * 16


class Hostile:
    """protocol.exchange.Link to somebody who sends what the test says."""

    lanes = 1

    def __init__(self, device: DeviceId, *arrived: Arrived) -> None:
        self.device = device
        self.heads_sent = tuple(encode_head(one.head) for one in arrived)
        self.bodies: dict[Cid, bytes] = {one.head.cid: one.body for one in arrived}
        self.asked = 0
        self.last = len(arrived)
        self.sends_along = False

    async def heads(self, log: bytes, after: int, word: int, is_level: bool) -> HeadsPage:
        self.asked += 1
        if log == LOG and after >= self.last:
            await trio.sleep_forever()
        bodies = tuple(self.bodies.values()) if self.sends_along else ()
        return HeadsPage(LOG, self.last, self.last, self.heads_sent, ROSTER_HEAD, bodies=bodies)

    async def have(self, cids: Sequence[Cid]) -> bytes:
        return b"\xff" * (-(-len(cids) // 8))

    async def prove(self, request: ProveRequest) -> ProveAnswer:
        return ProveAnswer((FrameStatus.OK,) * len(request.cids), (bytes(32),) * len(request.cids))

    async def tell_needs(self, files: int, size: int, word: int) -> None:
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def blocks(
        self, cids: Sequence[Cid], limits: Sequence[int], place: memoryview | None = None
    ) -> AsyncIterator[AsyncIterator[Sequence[Frame]]]:
        async def frames() -> AsyncIterator[Sequence[Frame]]:
            reader = FrameReader(limits, place)
            for index, cid in enumerate(cids):
                await trio.lowlevel.checkpoint()
                content = self.bodies.get(cid)
                status = FrameStatus.GONE if content is None else FrameStatus.OK
                yield reader.feed_untrusted(pack_frame(index, status, content or b""))

        yield frames()


class Endless(Hostile):
    """Answers at once, for ever, and never with anything."""

    async def heads(self, log: bytes, after: int, word: int, is_level: bool) -> HeadsPage:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        return HeadsPage(LOG, self.last, self.last, (), ROSTER_HEAD)


class Backwards(Hostile):
    """Sends the same page again and again."""

    async def heads(self, log: bytes, after: int, word: int, is_level: bool) -> HeadsPage:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        return HeadsPage(LOG, 1, 9, self.heads_sent, ROSTER_HEAD)


@asynccontextmanager
async def alone() -> AsyncIterator[SimSite]:
    """Ann, running, and nobody to link to but whom the test makes up."""
    world = World(["ann", "bob"])
    world["ann"].joins = False
    async with world.running(start=False):
        await world.start(world["ann"])
        yield world["ann"]


async def follow(site: SimSite, link: Hostile, seconds: float = 30.0) -> None:
    with trio.move_on_after(seconds):
        await site.task.follower.run_link(link)


def false_list(bob: Author) -> tuple[Arrived, dict[Cid, bytes]]:
    """A file whose parts are all there, but are not the list that its record names."""
    cipher = keyring().cipher()
    block = cipher.seal(BlockKind.DATA, b"x")
    packed = pack_entry(block.pid, block.cid, 1, EPOCH) * 2000
    parts: dict[Cid, bytes] = {}
    entries = b""
    for part in split_list(packed):
        sealed = cipher.seal(BlockKind.LIST, part)
        parts[sealed.cid] = bytes(sealed.ciphertext)
        entries += pack_entry(sealed.pid, sealed.cid, len(part), EPOCH)
    content = file_of_parts(CutClass.SMALL, 2000, entries, b"another digest".ljust(32))
    place = Place(ROOT_NODE, b"false")
    return bob.publish(Record(NodeId(b"f" * 32), content, (), place, (), Attributes(0o600), ())), parts


async def test_list_of_blocks_that_is_not_the_one_its_record_names_concerns_one_file(
    autojump_clock: MockClock,
) -> None:
    bob = Author("bob")
    false, parts = false_list(bob)
    fine = bob.publish(directory(1))
    async with alone() as ann:
        link = Hostile(bob.device, false, fine)
        link.bodies.update(parts)
        await follow(ann, link)
        assert (b"d1",) in ann.disk.contents()
        assert (b"false",) not in ann.disk.contents()
        assert [problem.path for problem in ann.task.problems] == [b"false"]
        ann.disk.write((b"mine",), b"still at work")
        await trio.sleep(10)
        assert ann.task.store.journal.own_head() is not None


@pytest.mark.parametrize("along", [False, True])
async def test_body_longer_than_its_head_says_ends_the_link(autojump_clock: MockClock, along: bool) -> None:
    bob = Author("bob")
    one = bob.publish(directory(1))
    async with alone() as ann:
        link = Hostile(bob.device, one)
        link.sends_along = along
        link.bodies[one.head.cid] = bytes(max_ciphertext(one.head.length) + 1)
        with pytest.raises(ExceptionGroup) as caught:
            await follow(ann, link)
        assert caught.group_contains(RemoteProtocolError, match="longer than its")
        await follow(ann, Hostile(bob.device, one))
        assert (b"d1",) in ann.disk.contents()


@pytest.mark.parametrize("along", [False, True])
async def test_what_comes_before_a_bad_changeset_is_taken_in(autojump_clock: MockClock, along: bool) -> None:
    bob = Author("bob")
    good, bad = bob.publish(directory(1)), bob.publish(directory(2))
    async with alone() as ann:
        link = Hostile(bob.device, good, bad)
        link.sends_along = along
        link.bodies[bad.head.cid] = bytes(len(bad.body))
        with pytest.raises(ExceptionGroup) as caught:
            await follow(ann, link)
        assert caught.group_contains(RemoteProtocolError)
        await trio.sleep(10)
        assert (b"d1",) in ann.disk.contents()


async def test_changeset_with_another_public_name_than_announced_is_refused(autojump_clock: MockClock) -> None:
    """Else its author could have everybody claim to have a block that they would answer with rubbish."""
    bob = Author("bob")
    one = bob.publish(directory(1))
    block = Sealed(one.head.pid, Cid(b"c" * 32), memoryview(one.body))
    sealed = SealedChangeset(one.head.changeset, one.head.length, block)
    cipher = keyring().cipher()
    head = sign_head(bob.keys, cipher, one.changeset, sealed, one.head.previous_cid, b"s" * 16)
    async with alone() as ann:
        with pytest.raises(ExceptionGroup) as caught:
            await follow(ann, Hostile(bob.device, Arrived(head, one.changeset, one.body)))
        assert caught.group_contains(RemoteProtocolError, match="public name")


async def test_page_that_leads_back_ends_the_link(autojump_clock: MockClock) -> None:
    bob = Author("bob")
    async with alone() as ann:
        link = Backwards(bob.device, bob.publish(directory(1)))
        with pytest.raises(ExceptionGroup) as caught:
            await follow(ann, link)
        assert caught.group_contains(RemoteProtocolError, match="leads back")
        assert link.asked == 2


async def test_peer_that_never_waits_with_its_answer_is_not_asked_without_pause(autojump_clock: MockClock) -> None:
    bob = Author("bob")
    async with alone() as ann:
        link = Endless(bob.device)
        await follow(ann, link, seconds=10)
        assert 10 < link.asked <= 110


async def test_numbering_of_an_older_database_is_given_up(autojump_clock: MockClock) -> None:
    """A peer has read further than there is: what it missed since would never be told, because its number is taken."""
    bob = Author("bob")
    async with alone() as ann:
        await follow(ann, Hostile(bob.device, bob.publish(directory(1))), seconds=5)
        before = ann.task.server.log_id
        page = await ann.task.server.heads_after(bob.device, HeadsAsked(before, 1_000, 0))
        assert page.log != before and page.last == page.newest > 0 and page.heads
        # A liar's word is not taken twice.
        again = await ann.task.server.heads_after(bob.device, HeadsAsked(page.log, 1_000, 0))
        assert again.log == page.log


async def test_numbering_that_begins_anew_while_somebody_waits_is_told_from_its_beginning(
    autojump_clock: MockClock,
) -> None:
    """The number that was asked for is one of the numbering before: by it the first changesets would never be told, and
    nothing that comes after them could be taken in. (Seed 2294 of the random stories, once.)"""
    bob, eve = Author("bob"), Author("eve")
    pages: list[HeadsPage] = []
    async with alone() as ann, trio.open_nursery() as nursery:
        await follow(ann, Hostile(bob.device, bob.publish(directory(1)), bob.publish(directory(2))), seconds=5)
        server, newest = ann.task.server, ann.task.store.journal.newest_seq()

        async def ask() -> None:
            pages.append(await server.heads_after(eve.device, HeadsAsked(server.log_id, newest, 55.0)))

        nursery.start_soon(ask)
        await trio.sleep(1)
        ann.task.store.db_begin_journal()
        ann.disk.write((b"news",), b"of ann")
        await trio.sleep(10)
        [page] = pages
        assert page.log == server.log_id
        assert len(page.heads) == page.newest > newest


async def test_what_is_found_while_the_newest_epoch_is_not_open_is_published_later(autojump_clock: MockClock) -> None:
    """Roster entries arrive one by one, the keys with the last: an edit in between must not become one that is only
    here."""
    async with alone() as ann:
        await trio.sleep(5)
        ann.task.use_rights(Rights(publishes=True, exchanges=False, waits=True))
        ann.disk.write((b"mine",), b"mine")
        await trio.sleep(10)
        assert ann.task.store.journal.own_head() is None
        ann.task.use_rights(Rights(publishes=True))
        await trio.sleep(10)
        assert ann.task.store.journal.own_head() is not None
        assert ann.task.counts.only_here == 0
