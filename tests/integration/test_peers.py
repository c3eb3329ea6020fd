"""Nodes of one folder over a simulated network: they find each other, exchange, and part."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from tests.helpers.peers import village


async def test_a_static_address_on_one_side_links_both(autojump_clock: MockClock) -> None:
    async with village("ann", "bob") as (made, nodes):
        assert await made.all_linked(*nodes) < 3


async def test_an_announced_change_arrives_within_a_second(autojump_clock: MockClock) -> None:
    async with village("ann", "bob", "carol") as (made, nodes):
        await made.all_linked(*nodes)
        await trio.sleep(100)
        for number, node in enumerate(nodes):
            published = trio.current_time()
            cid = node.folder.publish(b"%d" % number * 300_000)
            for other in nodes:
                assert await other.folder.wait_for(cid) - published < 1
