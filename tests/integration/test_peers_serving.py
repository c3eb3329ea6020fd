"""What a node answers to whom: every request is judged when it is handled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from ca.ids import DeviceId, FolderId
from ca.roles import Capability, Role
from syncd.errors import PeerUnavailable, SyncdError
from syncd.http import Client
from syncd.net.dial import dial
from syncd.net.greeting import greet, make_hello
from syncd.net.serve import UNPROVED_BURST
from syncd.net.stream import TlsStream
from syncd.protocol.messages import BlocksRequest, HeadsPage, Hello, RosterPage, RosterSubmit
from syncd.protocol.requests import Route, heads_fields, target_of
from syncd.protocol.tls import Outgoing, UnknownLabel, connect_control
from tests.helpers.peers import Node, village


@asynccontextmanager
async def call(guest: Node, host: Node, outgoing: Outgoing) -> AsyncIterator[tuple[TlsStream, Client]]:
    """A connection from one node to another, on which nothing was said yet."""
    stream = await dial(guest.network, guest.own.clock, host.address, outgoing)
    try:
        yield stream, Client(stream, host=outgoing.endpoint.label)
    finally:
        stream.abort()


async def hello(guest: Node, stream: TlsStream, client: Client) -> DeviceId:
    public, _ = await greet(client, stream, guest.own.keys, guest.membership.head_at, (), None)
    return public.id


class Keeps:
    """Takes whatever is left with it."""

    async def answer_untrusted(self, label: str, exporter: bytes, raw: bytes) -> bytes | None:
        return None

    async def keep_untrusted(self, folder: FolderId, device: DeviceId, raw: bytes) -> None:
        await trio.lowlevel.checkpoint()


async def status_of(client: Client, route: Route, body: bytes = b"", *, number: int = 0) -> int:
    reply = await client.request(route.method.decode(), target_of(route, number=number), body=body)
    await reply.body.drain()
    return reply.status


async def test_before_its_hello_a_client_gets_nothing_but_single_blocks(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        await made.start(ann)
        cid = ann.folder.publish(b"content")
        async with call(bob, ann, bob.membership.outgoing_member()) as (_, client):
            reply = await client.request("GET", target_of(Route.BLOCK, cid=cid))
            assert (reply.status, await reply.body.read(100)) == (200, b"content")
            assert await status_of(client, Route.HEADS) == 403
        async with call(bob, ann, bob.membership.outgoing_member()) as (_, client):
            assert await status_of(client, Route.BLOCKS, BlocksRequest((cid,)).encode()) == 403


async def test_blocks_for_unproved_clients_are_rationed(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        await made.start(ann)
        cid = ann.folder.publish(b"content")
        async with call(bob, ann, bob.membership.outgoing_member()) as (_, client):
            statuses = []
            made.internet.delay_s = (0.0, 0.0)
            for _ in range(int(UNPROVED_BURST) + 20):
                reply = await client.request("GET", target_of(Route.BLOCK, cid=cid))
                await reply.body.drain()
                statuses.append(reply.status)
            assert statuses.count(429) >= 10
            await trio.sleep(10)
            reply = await client.request("GET", target_of(Route.BLOCK, cid=cid))
            assert reply.status == 200


@pytest.mark.parametrize("route", [Route.COMMAND, Route.KEEP])
async def test_what_one_device_hands_in_holds_up_nobody_and_no_removal(route: Route, autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol", start=False) as (made, (ann, bob, carol)):
        await made.start(ann)
        ann.server.rescue = Keeps()
        made.internet.delay_s = (0.0, 0.0)
        async with (
            call(bob, ann, bob.membership.outgoing_control(ann.device)) as (stream, client),
            call(carol, ann, carol.membership.outgoing_control(ann.device)) as (other_stream, other),
        ):
            await hello(bob, stream, client)
            await hello(carol, other_stream, other)
            statuses = [await status_of(client, route, b"x") for _ in range(500)]
            assert statuses.count(429) >= 300
            assert await status_of(other, route, b"x") != 429
            assert await status_of(client, Route.SUBMIT_ENTRY, bob.membership.submission().encode()) == 204


async def test_a_second_hello_ends_the_connection(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        await made.start(ann)
        async with call(bob, ann, bob.membership.outgoing_member()) as (stream, client):
            assert await hello(bob, stream, client) == ann.device
            with pytest.raises(PeerUnavailable, match="400"):
                await hello(bob, stream, client)


async def test_a_hello_carried_over_from_another_connection_is_refused(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        await made.start(ann)
        async with (
            call(bob, ann, bob.membership.outgoing_member()) as (one, _),
            call(bob, ann, bob.membership.outgoing_member()) as (_, client),
        ):
            carried = await make_hello(one, bob.own.keys, bob.membership.head_at, (), None, None, swap=False)
            assert await status_of(client, Route.HELLO, carried.encode()) == 403
            assert not client.is_usable


async def test_the_first_question_for_heads_is_answered_at_once_and_the_next_waits(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        await made.start(ann)
        ann.folder.publish(b"content")
        async with call(bob, ann, bob.membership.outgoing_member()) as (stream, client):
            await hello(bob, stream, client)
            fields = heads_fields(ann.folder.log_id, 50)
            took = []
            for _ in range(2):
                began = trio.current_time()
                reply = await client.request("GET", target_of(Route.HEADS, number=1), fields=fields)
                page = HeadsPage.decode_untrusted(await reply.body.read(10_000))
                took.append(trio.current_time() - began)
                assert page.heads == ()
            assert took[0] < 1 < 49 < took[1] < 52


async def test_a_device_loses_its_rights_with_the_entry_that_takes_them(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol", start=False) as (made, (ann, bob, carol)):
        await made.start(ann)
        async with call(carol, ann, carol.membership.outgoing_control(ann.device)) as (stream, client):
            await hello(carol, stream, client)
            assert await status_of(client, Route.READ_ROSTER) == 200
            member = ann.membership.roster.member_of(carol.device)
            assert member is not None
            await ann.membership.remove(member.id)
            with pytest.raises(PeerUnavailable):  # that connection was cut, too
                await status_of(client, Route.READ_ROSTER)
        with pytest.raises(UnknownLabel):
            async with call(carol, ann, carol.membership.outgoing_member()):
                pass
        async with call(carol, ann, carol.membership.outgoing_control(ann.device)) as (stream, client):
            await hello(carol, stream, client)
            reply = await client.request("GET", target_of(Route.READ_ROSTER))
            page = RosterPage.decode_untrusted(await reply.body.read(1 << 20))
            assert len(page.entries) == 1 and page.wrap is None and not page.wraps
        async with call(bob, ann, bob.membership.outgoing_control(ann.device)) as (stream, client):  # bob still works
            await hello(bob, stream, client)
            assert await status_of(client, Route.READ_ROSTER) == 200


async def test_who_came_and_went_while_we_slept_keeps_no_connection_of_our_old_epoch(
    autojump_clock: MockClock,
) -> None:
    """Its admission told it the secret of the epoch in which we still are: both entries reach us on one page."""
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        await made.start(bob)
        cid, eve = bob.folder.publish(b"content"), made.devices.device("eve")
        old_epoch = ann.membership.outgoing_member()
        await ann.membership.admit(eve.keys.public, "eve", Role.EDITOR)
        async with call(ann, bob, old_epoch) as (_, client):  # as eve may
            assert await status_of(client, Route.BLOCKS) == 403
        async with call(ann, bob, old_epoch) as (_, client):
            reply = await client.request("GET", target_of(Route.BLOCK, cid=cid))
            assert (reply.status, await reply.body.read(100)) == (200, b"content")
            gone = ann.membership.roster.member_of(eve.keys.id)
            assert gone is not None
            await ann.membership.remove(gone.id)
            news = tuple(ann.membership.roster.raw_after(bob.membership.roster.number))
            await bob.membership.receive_untrusted(RosterPage(news, ann.membership.roster.number))
            assert bob.membership.head == ann.membership.head
            with pytest.raises(PeerUnavailable):
                await client.request("GET", target_of(Route.BLOCK, cid=cid))


async def test_who_may_read_no_longer_loses_its_connections_at_once(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        await made.start(ann)
        cid, member = ann.folder.publish(b"content"), ann.membership.roster.member_of(bob.device)
        assert member is not None
        async with call(bob, ann, bob.membership.outgoing_member()) as (stream, client):
            await hello(bob, stream, client)
            assert await status_of(client, Route.BLOCKS, BlocksRequest((cid,)).encode()) == 200
            await ann.membership.change_role(member.id, Role.ADMIN, Capability.ADMIT)
            with pytest.raises(PeerUnavailable):
                await status_of(client, Route.BLOCKS, BlocksRequest((cid,)).encode())


async def test_a_connection_that_nobody_cut_is_judged_by_the_roster_of_now(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        await made.start(ann)
        async with call(bob, ann, bob.membership.outgoing_member()) as (stream, client):
            await hello(bob, stream, client)
            fields = heads_fields(ann.folder.log_id, 50)
            for number, status in enumerate((200, 403)):  # the second waits while the rights are taken
                if number:
                    monkeypatch.setattr(ann.membership, "role_of", lambda device: None)
                reply = await client.request("GET", target_of(Route.HEADS, number=0), fields=fields)
                await reply.body.drain()
                assert reply.status == status


async def test_control_tells_strangers_nothing_but_takes_entries(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        await made.start(ann)
        eve = made.devices.device("eve")
        label = bob.membership.outgoing_control(ann.device).endpoint.label  # known to whoever once was a member
        outgoing = connect_control(label, ann.membership.folder_id, eve.certificate, eve.keys.tls)
        async with call(bob, ann, outgoing) as (stream, client):
            public, theirs = await greet(client, stream, eve.keys, bob.membership.head_at, (), None)
            assert public.id == ann.device and theirs.others == ()
            submit = RosterSubmit(ann.membership.roster.raw_after(0)[0])
            assert await status_of(client, Route.SUBMIT_ENTRY, submit.encode()) == 204
            assert await status_of(client, Route.READ_ROSTER) == 404


async def test_a_hello_with_the_key_of_another_certificate_is_refused_on_control(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        await made.start(ann)
        eve = made.devices.device("eve")
        label = bob.membership.outgoing_control(ann.device).endpoint.label
        outgoing = connect_control(label, ann.membership.folder_id, eve.certificate, eve.keys.tls)
        async with call(bob, ann, outgoing) as (stream, client):
            with pytest.raises(SyncdError):
                await hello(bob, stream, client)


async def test_a_vault_gets_nothing_on_a_member_label(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        eve = made.devices.device("eve")
        await ann.membership.admit(eve.keys.public, "eve", Role.VAULT)
        await made.start(ann)
        async with call(bob, ann, ann.membership.outgoing_member()) as (stream, client):
            ours = await make_hello(stream, eve.keys, ann.membership.head_at, (), None, None, swap=False)
            assert await status_of(client, Route.HELLO, ours.encode()) == 403


async def test_nonsense_ends_a_connection_and_no_other(autojump_clock: MockClock) -> None:
    async with village("ann", "bob") as (made, (ann, bob)):
        await made.all_linked(ann, bob)
        begun = bob.folder.links_begun
        for body in (b"", b"\xff" * 100, Hello.__doc__.encode() if Hello.__doc__ else b"?"):
            async with call(bob, ann, bob.membership.outgoing_member()) as (_, client):
                assert await status_of(client, Route.HELLO, body) == 400
        cid = ann.folder.publish(b"still here")
        await bob.folder.wait_for(cid)
        assert bob.folder.links_begun == begun


async def test_a_folder_that_has_stopped_is_not_served(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        await made.start(ann)
        ann.keeper_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        async with call(bob, ann, bob.membership.outgoing_member()) as (stream, client):
            with pytest.raises(PeerUnavailable):
                await hello(bob, stream, client)


# --- lines ---------------------------------------------------------------------------------------------------------


async def test_a_data_connection_that_died_while_idle_is_replaced_without_a_word(autojump_clock: MockClock) -> None:
    async with village("ann", "bob") as (made, (ann, bob)):
        await made.all_linked(ann, bob)
        for round_ in range(3):
            cid = ann.folder.publish(b"%d" % round_)
            await bob.folder.wait_for(cid)
            await trio.sleep(5)
            dialled = sorted((one for one in bob.connections if not one.accepted), key=lambda one: one.stream.opened_at)
            assert len(dialled) > 1
            for one in dialled[1:]:  # the first is the one for news
                one.stream.abort()
        assert bob.folder.links_begun == 1


async def test_a_link_that_can_announce_but_not_deliver_is_given_up(autojump_clock: MockClock) -> None:
    async with village("ann", "bob") as (made, (ann, bob)):
        await made.all_linked(ann, bob)
        await trio.sleep(100)  # no data connection is open any more
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(made.internet, "find_listener", lambda host, port: None)  # nobody gets in any more
            ann.folder.publish(b"news")
            await trio.sleep(5)
            assert not bob.linked()
