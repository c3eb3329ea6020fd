"""More members than links: the limit is kept, the near ones get their places, and everybody gets the news."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from syncd.net import circle
from syncd.net.selection import Places, Selection
from tests.helpers.peers import Node, village

pytestmark = pytest.mark.slowest

NEAR = [f"10.0.0.{number}" for number in range(1, 4)]
FAR = [f"8.8.0.{number}" for number in range(1, 7)]
PLACES = Places(on_each_side=1, nearest=2, by_chance=0, usual=4, most=5)


@pytest.fixture
def few_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circle, "Selection", lambda own, luck: Selection(own, luck, PLACES))


def most_linked(nodes: list[Node]) -> int:
    return max(len(node.linked()) for node in nodes)


async def test_limit_is_kept_and_news_reach_everybody(autojump_clock: MockClock, few_links: None) -> None:
    async with village(*NEAR, *FAR) as (_, nodes):
        for _ in range(60):
            await trio.sleep(1)
            assert most_linked(nodes) <= PLACES.most + 1  # for the moment in which one takes another's place
        await trio.sleep(60)
        assert most_linked(nodes) <= PLACES.most
        assert min(len(node.linked()) for node in nodes) >= 2
        begun = sum(node.folder.links_begun for node in nodes)
        await trio.sleep(120)
        assert sum(node.folder.links_begun for node in nodes) == begun  # at rest: nobody takes turns


async def test_the_near_ones_have_places(autojump_clock: MockClock, few_links: None) -> None:
    async with village(*FAR, *NEAR) as (_, nodes):
        await trio.sleep(180)
        near = {node.device: node for node in nodes if node.name in NEAR}
        for node in near.values():
            assert node.linked() >= near.keys() - {node.device}


async def test_who_reaches_nobody_but_a_busy_one_is_read_by_that(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Places(on_each_side=1, nearest=0, by_chance=0, usual=2, most=6)
    monkeypatch.setattr(circle, "Selection", lambda own, luck: Selection(own, luck, few))
    async with village("hub", *(f"near{number}" for number in range(5)), "alone", start=False) as (made, nodes):
        hub, *others, alone = nodes
        for other in others:
            made.internet.block(alone.name, other.name)
            made.internet.block(other.name, alone.name)
        await made.start(hub, *others)
        await trio.sleep(60)
        assert len(hub.linked()) >= few.usual
        await made.start(alone)
        cid = alone.folder.publish(b"from far out")
        with trio.fail_after(60):
            await hub.folder.wait_for(cid)
