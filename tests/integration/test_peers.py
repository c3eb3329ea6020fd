"""Nodes of one folder over a simulated network: they find each other, exchange, and part."""

from __future__ import annotations

import logging

import pytest
import trio
from trio._core import _run
from trio.testing import MockClock

from ca.roles import Role
from syncd.errors import RemoteProtocolError
from syncd.net.peers import DRAIN_S
from syncd.seams import Announcement, Found, Unheard
from tests.helpers.memberships import restarted
from tests.helpers.peers import PORT, Node, village

BOUND_S = 5.0
"""From a removal to the last connected peer (design: trust, removal)."""


async def demand_exchange(*nodes: Node, within_s: float = 2.0) -> None:
    """What each publishes now arrives at all others."""
    for node in nodes:
        cid = node.folder.publish(f"{node.name} at {trio.current_time()}".encode() * 1000)
        with trio.fail_after(within_s):
            for other in nodes:
                await other.folder.wait_for(cid)


# --- coming together -----------------------------------------------------------------------------------------------


async def test_a_static_address_on_one_side_links_both(autojump_clock: MockClock) -> None:
    async with village("ann", "bob") as (made, nodes):
        assert await made.all_linked(*nodes) < 3
        await demand_exchange(*nodes)


async def test_members_learn_of_each_other_from_the_one_they_know(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol", "dave") as (made, nodes):
        await made.all_linked(*nodes, within_s=10)


async def test_an_announced_change_arrives_within_a_second_after_any_silence(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol") as (made, nodes):
        await made.all_linked(*nodes)
        for silence_s in (1.0, 49.0, 61.0, 3600.0):
            await trio.sleep(silence_s)
            await demand_exchange(*nodes, within_s=1.0)


async def test_silence_keeps_links_and_closes_idle_data_connections(autojump_clock: MockClock) -> None:
    async with village("ann", "bob") as (made, (ann, bob)):
        await made.all_linked(ann, bob)
        await demand_exchange(ann, bob)
        await trio.sleep(600)
        assert (ann.folder.links_begun, bob.folder.links_begun) == (1, 1)
        assert len(ann.connections) == 2  # one on which each asks for news


async def test_an_announcement_makes_a_link(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        bob.static = ()
        await made.start(ann, bob)
        await trio.sleep(30)
        assert not ann.linked()
        key = ann.membership.announcement_key
        assert key is not None
        made.internet.network("ann").announce(Announcement(PORT, (key,)))
        send, receive = trio.open_memory_channel[Found | Unheard](8)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.internet.network("bob").browse, send)
            found = await receive.receive()
            assert isinstance(found, Found)
            bob.keeper.found(found)
            nursery.cancel_scope.cancel()
        assert await made.all_linked(ann, bob) < 2


async def test_whoever_was_met_is_called_at_once(autojump_clock: MockClock) -> None:
    """Every new address is put off by chance but the one of a device that has just let us in."""
    for _ in range(5):
        async with village("ann", "bob", start=False) as (made, (ann, bob)):
            bob.static = ()
            await made.start(ann, bob)
            bob.keeper.was_met(ann.listeners[0].address, ann.device)
            with trio.fail_after(0.1):
                await bob.folder.wait_link(ann.device)


async def test_an_announcement_of_another_folder_is_passed_over(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        bob.static = ()
        await made.start(ann, bob)
        bob.keeper.found(Found(b"i" * 16, (ann.address,), (b"whatever",)))
        await trio.sleep(30)
        assert not ann.linked()


async def test_a_node_never_links_to_itself(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        ann.static = (ann.address,)
        await made.start(ann, bob)
        await made.all_linked(ann, bob)
        await trio.sleep(60)
        assert ann.linked() == {bob.device}


async def test_each_side_learns_what_the_other_has_of_its_journal(autojump_clock: MockClock) -> None:
    async with village("ann", "bob") as (made, (ann, bob)):
        await made.all_linked(ann, bob)
        assert b"newest of " + ann.device[:4] in ann.folder.own_seen
        assert b"newest of " + bob.device[:4] in bob.folder.own_seen


async def test_needs_are_told(autojump_clock: MockClock) -> None:
    async with village("ann", "bob") as (made, (ann, bob)):
        await made.all_linked(ann, bob)
        await demand_exchange(ann, bob)
        assert ann.folder.needs == {bob.device: (0, 0)}


# --- status --------------------------------------------------------------------------------------------------------


async def test_contacts_tell_who_is_connected_and_who_was(autojump_clock: MockClock) -> None:
    async with village("ann", "bob") as (made, (ann, bob)):
        await made.all_linked(ann, bob)
        contact = bob.keeper.contacts()[ann.device]
        assert (contact.connected, contact.address, contact.how) == (True, ann.address, "wan")
        assert contact.rtt_ms is not None and 0 < contact.rtt_ms < 1000
        await made.stop(ann)
        await trio.sleep(100)
        contact = bob.keeper.contacts()[ann.device]
        assert not contact.connected
        assert contact.last_seen is not None and 90 < bob.own.clock.now() - contact.last_seen < 200


# --- trouble -------------------------------------------------------------------------------------------------------


async def test_cut_connections_come_back_within_a_second(autojump_clock: MockClock) -> None:
    async with village("ann", "bob") as (made, (ann, bob)):
        await made.all_linked(ann, bob)
        await trio.sleep(30)
        assert made.internet.cut("ann") > 0
        await trio.sleep(0.05)
        assert await made.all_linked(ann, bob) < 1.5


async def test_a_partition_is_noticed_and_healed(autojump_clock: MockClock) -> None:
    async with village("ann", "bob") as (made, (ann, bob)):
        await made.all_linked(ann, bob)
        made.internet.partition(["ann"], ["bob"])
        await trio.sleep(300)
        assert not ann.linked() and not bob.linked()
        made.internet.heal()
        await made.all_linked(ann, bob, within_s=90)
        await demand_exchange(ann, bob)


async def test_a_device_that_was_away_for_a_day_calls_and_is_called_back_at_once(autojump_clock: MockClock) -> None:
    async with village("ann", "bob") as (made, (ann, bob)):
        await made.all_linked(ann, bob)
        await made.stop(bob)
        await trio.sleep(86_400)
        await made.start(bob)
        assert await made.all_linked(ann, bob) < 3


async def test_a_fault_in_our_own_work_ends_that_link_only(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with village("ann", "bob", "carol") as (made, (ann, bob, carol)):
        await made.all_linked(ann, bob, carol)
        ann.folder.fault = ZeroDivisionError("a bug of ours")
        carol.folder.publish(b"to be taken badly")
        bob.folder.publish(b"this too")
        await trio.sleep(10)
        assert "the work with" in caplog.text and "a bug of ours" in caplog.text
        ann.folder.fault = None
        await made.all_linked(ann, bob, carol, within_s=120)
        await demand_exchange(ann, bob, carol)


async def test_a_peer_that_breaks_the_protocol_is_called_less_and_less(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "syncd.net.peers")
    async with village("ann", "bob") as (_, (_, bob)):
        bob.folder.fault = RemoteProtocolError("what it says is nonsense")
        await trio.sleep(600)
        assert 3 < bob.folder.links_begun < 40
        assert sum("nonsense" in record.message for record in caplog.records) < 5


async def test_nobody_at_an_address_is_no_trouble(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        bob.static = ("nowhere:1", "not an address", ann.address)
        await made.start(ann, bob)
        await made.all_linked(ann, bob, within_s=5)


# --- nodes that cannot be dialled ----------------------------------------------------------------------------------


async def test_a_node_without_a_listener_exchanges_both_ways(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        bob.listens = False
        await made.start(ann, bob)
        assert await made.all_linked(ann, bob) < 5
        await demand_exchange(ann, bob)
        await trio.sleep(3600)
        await demand_exchange(ann, bob)


async def test_a_node_behind_a_router_offers_connections(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        bob.listens = False
        bob.claims = ("router:1",)  # it does not know that nobody can get in
        await made.start(ann, bob)
        assert await made.all_linked(ann, bob, within_s=40) > 5
        await demand_exchange(ann, bob)


async def test_a_node_without_a_listener_survives_cuts(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        bob.listens = False
        await made.start(ann, bob)
        await made.all_linked(ann, bob)
        for _ in range(5):
            await trio.sleep(40)
            made.internet.cut("bob")
            await trio.sleep(0.05)
            await made.all_linked(ann, bob, within_s=10)
        await demand_exchange(ann, bob)


# --- the roster moves ----------------------------------------------------------------------------------------------


async def remove(host: Node, guest: Node) -> None:
    member = host.membership.roster.member_of(guest.device)
    assert member is not None
    await host.membership.remove(member.id)


async def test_a_removal_cuts_the_removed_everywhere_within_the_bound(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol", "dave") as (made, (ann, bob, carol, dave)):
        await made.all_linked(ann, bob, carol, dave)
        await trio.sleep(20)
        old = ann.membership.epoch.id
        await remove(ann, carol)
        assert made.internet.cut("ann", "carol") == 0  # nothing was left to be cut
        began = trio.current_time()
        await trio.sleep(BOUND_S)
        for node in (ann, bob, dave):
            assert carol.device not in node.linked()
            assert not [one for one in node.connections if one.epoch_id == old]
            assert node.membership.head == ann.membership.head
        sent = {name: made.internet.bytes_sent[name, "carol"] for name in ("ann", "bob", "dave")}
        cid = ann.folder.publish(b"a secret" * 100_000)
        for node in (bob, dave):
            await node.folder.wait_for(cid)
        assert trio.current_time() - began < BOUND_S + 2
        await trio.sleep(100)
        assert cid not in carol.folder.blocks
        for name, before in sent.items():  # it may ask on the control channel, and is told that it is out
            assert made.internet.bytes_sent[name, "carol"] - before < 300_000
        assert carol.membership.is_out


async def test_those_who_stay_are_linked_again_within_the_bound(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol", "dave") as (made, (ann, bob, carol, dave)):
        await made.all_linked(ann, bob, carol, dave)
        await trio.sleep(20)
        await remove(ann, carol)
        assert await made.all_linked(ann, bob, dave) < BOUND_S
        await demand_exchange(ann, bob, dave)


async def test_a_removal_reaches_those_whom_its_author_cannot_reach(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol", "dave") as (made, (ann, bob, carol, dave)):
        await made.all_linked(ann, bob, carol, dave)
        made.internet.block("ann", "dave")
        made.internet.block("dave", "ann")
        await trio.sleep(1)
        await remove(ann, carol)
        await trio.sleep(BOUND_S)
        assert dave.membership.head == ann.membership.head
        assert carol.device not in dave.linked()


async def test_a_push_tells_who_has_it(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol", "dave") as (made, (ann, bob, carol, dave)):
        await made.all_linked(ann, bob, carol, dave)
        await made.stop(dave)
        await remove(ann, carol)
        began = trio.current_time()
        assert await ann.keeper.push() == {bob.device}
        assert trio.current_time() - began <= BOUND_S


async def test_a_member_that_slept_through_two_rotations_comes_back_by_itself(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol") as (made, (ann, bob, carol)):
        await made.all_linked(ann, bob, carol)
        await made.stop(carol)
        await ann.membership.rotate()
        await bob.keeper.push()
        await trio.sleep(5)
        await bob.membership.rotate()
        await trio.sleep(3600)
        assert ann.membership.head == bob.membership.head != carol.membership.head
        carol.membership = await restarted(carol.own, carol.membership.folder_id)
        await made.start(carol)
        assert await made.all_linked(ann, bob, carol, within_s=20) < 10
        await demand_exchange(ann, bob, carol)


async def test_a_sleeper_that_cannot_be_dialled_comes_back_too(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        bob.listens = False
        await made.start(ann, bob)
        await made.all_linked(ann, bob)
        await made.stop(bob)
        await ann.membership.rotate()
        await ann.membership.rotate()
        await made.start(bob)
        assert await made.all_linked(ann, bob, within_s=20) < 10


async def test_a_member_who_slept_and_can_only_be_called_is_told(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", start=False) as (made, (ann, bob)):
        bob.static, ann.static, ann.listens = (), (bob.address,), False
        await made.start(ann, bob)
        await made.all_linked(ann, bob)
        await made.stop(bob)
        await ann.membership.rotate()
        await ann.membership.rotate()
        await trio.sleep(600)
        await made.start(bob)
        await made.all_linked(ann, bob, within_s=70)
        assert bob.membership.head == ann.membership.head


async def test_an_admission_interrupts_nobody_and_old_connections_drain(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol", start=False) as (made, (ann, bob, _)):
        await made.start(ann, bob)
        await made.all_linked(ann, bob)
        began = (ann.folder.links_begun, bob.folder.links_begun)
        old = ann.membership.epoch.id
        eve = made.devices.device("eve")
        await ann.membership.admit(eve.keys.public, "eve", Role.EDITOR)
        for _ in range(30):
            await trio.sleep(DRAIN_S / 20)
            await demand_exchange(ann, bob, within_s=1)
        assert (ann.folder.links_begun, bob.folder.links_begun) == began
        assert bob.membership.epoch.id != old
        assert not [one for node in (ann, bob) for one in node.connections if one.epoch_id == old]


async def test_entries_that_open_no_epoch_reach_linked_peers(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol") as (made, (ann, bob, carol)):
        await made.all_linked(ann, bob, carol)
        await carol.membership.leave()
        await trio.sleep(BOUND_S)
        assert ann.membership.role_of(carol.device) is None
        assert bob.membership.head == ann.membership.head
        assert carol.device not in ann.linked() | bob.linked()


async def test_many_rotations_at_once_end_with_one_roster(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol", "dave", "eric", "fay") as (made, nodes):
        await made.all_linked(*nodes, within_s=20)
        for _ in range(6):
            await nodes[0].membership.rotate()
        await made.all_linked(*nodes, within_s=20)
        await trio.sleep(5)
        assert {node.membership.head for node in nodes} == {nodes[0].membership.head}
        await demand_exchange(*nodes)


async def test_the_same_seed_gives_the_same_run(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)

    async def run() -> list[float]:
        _run._r.seed(7)  # trio shuffles what is runnable, so that nobody comes to rely on an order
        async with village("ann", "bob", "carol", seed=7) as (made, nodes):
            began = trio.current_time()
            await made.all_linked(*nodes)
            times = [trio.current_time() - began]
            cid = nodes[1].folder.publish(b"x" * 100_000)
            return times + [await node.folder.wait_for(cid) - began for node in nodes]

    assert await run() == pytest.approx(await run())
