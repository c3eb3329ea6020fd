"""Nodes of one folder over real sockets of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from syncd.net.sockets import SocketNetwork
from tests.helpers.peers import Node, Village


@asynccontextmanager
async def neighbours(*names: str) -> AsyncIterator[tuple[Village, list[Node]]]:
    """Members on free ports of this machine, who know the first one's address."""
    async with trio.open_nursery() as nursery:
        made = Village(nursery)
        nodes = await made.settle(names, SocketNetwork())
        for node in nodes:
            node.listen_on = "127.0.0.1:0"
            node.static = (nodes[0].address,) if node is not nodes[0] else ()
            await made.start(node)
        yield made, nodes
        nursery.cancel_scope.cancel()


async def test_three_nodes_link_and_exchange() -> None:
    with trio.fail_after(120):
        async with neighbours("ann", "bob", "carol") as (made, nodes):
            await made.all_linked(*nodes)
            for node in nodes:
                cid = node.folder.publish(node.name.encode() * 1_000_000)
                for other in nodes:
                    await other.folder.wait_for(cid)
            contact = nodes[1].keeper.contacts()[nodes[0].device]
            assert (contact.connected, contact.how) == (True, "lan")


async def test_a_removal_is_everywhere_at_once_and_the_others_go_on() -> None:
    with trio.fail_after(120):
        async with neighbours("ann", "bob", "carol") as (made, (ann, bob, carol)):
            await made.all_linked(ann, bob, carol)
            member = ann.membership.roster.member_of(carol.device)
            assert member is not None
            with trio.fail_after(5):
                await ann.membership.remove(member.id)
                assert await ann.keeper.push() == {bob.device}
                assert carol.device not in bob.linked()
                cid = ann.folder.publish(b"not for carol")
                await bob.folder.wait_for(cid)
            while carol.linked():  # noqa: ASYNC110 - the kernel tells when an end is noticed
                await trio.sleep(0.01)
            await trio.sleep(0.5)
            assert cid not in carol.folder.blocks
            assert not carol.linked()
