"""A folder's address rules, as every peer enforces them: at the door, on what is open, and when dialling."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ca.addresses import AddressRule, AddressRules, parse_network, sorted_rules
from syncd.http import Client
from syncd.net.dial import dial
from syncd.protocol.refusals import Event
from tests.helpers.peers import Node, village

OFFICE = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
BOUND_S = 5.0


def rules(*lines: tuple[bool, str], device: Node | None = None) -> AddressRules:
    who = None if device is None else device.device
    return sorted_rules(AddressRule(allows, parse_network(network), who) for allows, network in lines)


async def wait_apart(one: Node, *others: Node) -> None:
    with trio.fail_after(BOUND_S):
        while any(one.device in other.linked() or other.device in one.linked() for other in others):  # noqa: ASYNC110
            await trio.sleep(0.1)


async def test_denied_network_is_cut_off_and_comes_back_with_the_rule(autojump_clock: MockClock) -> None:
    async with village(*OFFICE) as (made, (ann, bob, carol)):
        await made.all_linked(ann, bob, carol)
        await ann.membership.rule_addresses(rules((False, "10.0.0.2")))
        await wait_apart(bob, ann, carol)
        secret = ann.folder.publish(b"only for those inside" * 1000)
        await carol.folder.wait_for(secret)
        for _ in range(60):
            await trio.sleep(1)
            assert not ann.linked() & {bob.device}
            assert not carol.linked() & {bob.device}
        assert secret not in bob.folder.blocks
        await ann.membership.rule_addresses(())  # the control channel carries it: a wrong rule can be corrected
        await made.all_linked(ann, bob, carol, within_s=90)
        with trio.fail_after(5):
            await bob.folder.wait_for(secret)


async def test_who_ignores_the_rule_is_refused_at_the_door(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with village(*OFFICE[:2]) as (made, (ann, bob)):
        await made.all_linked(ann, bob)
        monkeypatch.setattr(bob.keeper, "_check_rules", lambda address, device: None)
        monkeypatch.setattr(bob.keeper, "_is_outside", lambda connection, rules: False)
        await ann.membership.rule_addresses(rules((True, "10.0.0.1"), (True, "10.0.0.3")))
        await wait_apart(ann, bob)
        await trio.sleep(120)
        assert bob.device not in ann.linked()
        assert ann.refusals.counts[Event.ADDRESS] > 0
        assert not ann.keeper.contacts()[bob.device].connected


async def test_who_is_refused_by_address_gets_not_even_a_goodbye(autojump_clock: MockClock) -> None:
    """The connection is cut; nothing tells it from a lost one. Before the rule the same call gets an answer."""
    async with village(*OFFICE[:2], start=False) as (made, (ann, bob)):
        await made.start(ann)
        for is_refused in (False, True):
            if is_refused:
                await ann.membership.rule_addresses(rules((False, "10.0.0.2")))
            outgoing = bob.membership.outgoing_member()
            stream = await dial(bob.network, bob.own.clock, ann.address, outgoing)
            if is_refused:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()
            else:
                reply = await Client(stream, host=outgoing.endpoint.label).request("GET", "/v1/blocks/" + "0" * 64)
                assert reply.status == 404
            stream.abort()
        assert ann.refusals.counts[Event.ADDRESS] == 1


async def test_rule_for_one_device_concerns_no_other(autojump_clock: MockClock) -> None:
    async with village(*OFFICE) as (made, (ann, bob, carol)):
        await made.all_linked(ann, bob, carol)
        await ann.membership.rule_addresses(rules((True, "10.9.0.0/16"), device=bob))
        await wait_apart(bob, ann, carol)
        await trio.sleep(60)
        assert bob.device not in ann.linked() | carol.linked()
        assert carol.device in ann.linked()
        await carol.folder.wait_for(ann.folder.publish(b"still here" * 1000))


async def test_rules_that_let_everybody_in_disturb_nobody(autojump_clock: MockClock) -> None:
    async with village(*OFFICE) as (made, (ann, bob, carol)):
        await made.all_linked(ann, bob, carol)
        begun = [node.folder.links_begun for node in (ann, bob, carol)]
        await ann.membership.rule_addresses(rules((True, "10.0.0.0/8"), (False, "10.1.0.0/16")))
        await trio.sleep(30)
        assert [node.folder.links_begun for node in (ann, bob, carol)] == begun
