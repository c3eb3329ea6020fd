"""Old versions leave a disk early only when others have proved that they hold them: evictions, liars, losses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest
import trio
from trio.testing import MockClock

from ca.ids import DeviceId
from syncd.daemon.views import copies_json
from syncd.engine.retention import Policy, Step, Tier
from syncd.model.ids import Cid
from syncd.protocol.frames import FrameStatus
from syncd.protocol.possession import HOLD_S, PROOF_S, ProveAnswer, ProveRequest, challenge_key, proof_of
from syncd.store import proofs, pruning
from tests.helpers import liars
from tests.helpers.tasks import SimSite, World
from tests.simulation.test_pruning import DAY_S, FILE, Calendar, lacking, shelf

pytestmark = pytest.mark.long

Prove = Callable[[DeviceId, ProveRequest], Awaitable[ProveAnswer]]
SHORT = Policy((Tier(Step.ALL, 2),), ())
VERSIONS = 4


@pytest.fixture
async def world() -> AsyncIterator[tuple[World, list[int]]]:
    """Ann wrote a file anew on five days; bob and cyd have packed what was there. And a moment of each day."""
    world = World(["ann", "bob", "cyd"])
    Calendar.days = 0.0
    for site in world:
        site.clock = Calendar()
    moments = []
    async with world.running():
        for day in range(VERSIONS + 1):
            world["ann"].disk.write(FILE, b"day %d" % day)
            await world.settle()
            moments.append(int(world["ann"].clock.now() * 1000))
            await trio.sleep(70)
            Calendar.days += 1
            await trio.sleep(70)
        for site in world:
            site.task.store.connection.execute("DELETE FROM snapshot")
        yield world, moments


async def prune(site: SimSite, policy: Policy = SHORT) -> int:
    """Keep less from now on; the blocks that stay for want of copies."""
    pruning.db_set_policy(site.task.store, policy)
    return (await site.task.archivist.prune(dry_run=False)).withheld.blocks


def lacks(site: SimSite, moments: list[int]) -> list[int]:
    return [lacking(site, at_ms) for at_ms in moments[:VERSIONS]]


def lose(site: SimSite) -> None:
    """All packs are gone, and the device does not know it."""
    shelf(site.task.store).files.clear()


async def test_who_is_not_linked_is_reached_for_its_proof(
    autojump_clock: MockClock, world: tuple[World, list[int]]
) -> None:
    net, _ = world
    bob, cyd = net["bob"], net["cyd"]
    wires = net.between(bob, cyd)
    for wire in wires:
        wire.cut()
    await trio.sleep(5)
    assert await prune(bob) > 0

    @asynccontextmanager
    async def reach_out() -> AsyncIterator[None]:
        for wire in wires:
            wire.mend()
        while cyd.device not in bob.task.links:
            await bob.task.changed()
        yield

    bob.task.reach_out = reach_out
    assert await prune(bob) == 0


async def test_what_another_has_proved_goes_and_is_kept_there(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    net, moments = world
    bob, cyd = net["bob"], net["cyd"]
    assert lacks(bob, moments) == lacks(cyd, moments) == [0, 0, 0, 0]
    assert await prune(bob) == 0
    assert lacks(bob, moments) == [1, 1, 1, 0]
    bound = await cyd.task.archivist.prune(dry_run=True)
    assert bound.withheld.promised == 0  # it keeps them for itself
    assert await prune(cyd) == 0  # nothing is even asked about: it was promised to bob
    assert copies_json(cyd.task)["promised_blocks"] == 3
    assert lacks(cyd, moments) == [0, 0, 0, 0]
    Calendar.days += HOLD_S / DAY_S + 0.1
    assert await prune(cyd) > 0
    assert lacks(cyd, moments)[:3] == [0, 0, 0]


async def test_dry_run_says_the_same_and_binds_nobody(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    net, moments = world
    bob, cyd = net["bob"], net["cyd"]
    pruning.db_set_policy(bob.task.store, SHORT)
    foreseen = await bob.task.archivist.prune(dry_run=True)
    assert (foreseen.withheld.proved, foreseen.withheld.blocks, foreseen.packs > 0) == (3, 0, True)
    assert lacks(bob, moments) == [0, 0, 0, 0]
    assert not proofs.db_held(cyd.task.store, cyd.clock.now())


async def test_nothing_goes_while_nobody_is_there_to_prove_it_and_short_space_says_why(
    world: tuple[World, list[int]], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, moments = world
    bob = net["bob"]
    net.cut()
    await trio.sleep(5)
    assert await prune(bob) == 3
    short = replace(SHORT, floor=(Tier(Step.ALL, 1),), space_bytes=1)
    monkeypatch.setattr(pruning, "db_policy", lambda store: short)
    assert await prune(bob) == 4
    assert lacks(bob, moments) == [0, 0, 0, 0]
    assert bob.task.is_over_space  # and so it is a problem that `status` shows
    told = copies_json(bob.task)
    assert (told["wanted"], told["others"], told["kept_blocks"]) == (1, 2, 4)
    assert told["why"] == "1 of 2 other devices have to prove that they hold them; 0 could be asked"
    net.mend()
    await net.settle()
    assert await prune(bob) == 0
    assert lacks(bob, moments) == [1, 1, 1, 1]


async def test_more_copies_are_asked_for_than_there_are_holders(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    """Ann wrote these versions over herself and has kept none: only cyd can prove them."""
    net, moments = world
    assert await prune(net["bob"], replace(SHORT, copies=2)) == 3
    assert lacks(net["bob"], moments) == [0, 0, 0, 0]


async def test_two_who_let_go_at_one_time_keep_one_copy(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    net, moments = world
    bob, cyd = net["bob"], net["cyd"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(prune, bob)
        nursery.start_soon(prune, cyd)
    for days in (0.0, 1.0, 6.5, 8.0, 8.0):
        Calendar.days += days
        async with trio.open_nursery() as nursery:
            nursery.start_soon(prune, bob)
            nursery.start_soon(prune, cyd)
        both = zip(lacks(bob, moments), lacks(cyd, moments), strict=True)
        assert not any(here and there for here, there in both)


def claim(site: SimSite, bytes_of: dict[Cid, bytes]) -> None:
    """It says that it has everything, and proves what it is given the bytes of, the rest by guess."""
    server = site.task.server
    liars.false_have(server, Random(0))

    async def prove(device: DeviceId, request: ProveRequest) -> ProveAnswer:
        await trio.lowlevel.checkpoint()
        key = challenge_key(request.nonce, site.task.store.keyring.folder, device, site.device)
        return ProveAnswer(
            (FrameStatus.OK,) * len(request.cids),
            tuple(proof_of(key, bytes_of.get(cid, b"a guess")) for cid in request.cids),
        )

    server.prove = prove  # type: ignore[method-assign]


async def test_liar_fails_the_challenge(world: tuple[World, list[int]], autojump_clock: MockClock) -> None:
    net, moments = world
    claim(net["ann"], {})
    claim(net["cyd"], {})
    assert await prune(net["bob"]) == 3
    assert lacks(net["bob"], moments) == [0, 0, 0, 0]


async def test_liar_cannot_fetch_from_whom_it_has_to_answer(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    net, _ = world
    bob, cyd = net["bob"], net["cyd"]
    claim(net["ann"], {})
    server, seen = cyd.task.server, []
    liars.false_have(server, Random(0))

    async def prove(device: DeviceId, request: ProveRequest) -> ProveAnswer:
        for asker in (cyd.device, None):
            frames = [bytes(part) async for part in bob.task.server.serve_blocks(request.cids, asker)]
            seen.append({part[0] for part in frames})
        theirs = [bytes(part) async for part in bob.task.server.serve_blocks(request.cids, net["ann"].device)]
        seen.append({part[0] for part in theirs})
        return ProveAnswer((FrameStatus.GONE,) * len(request.cids), ())

    server.prove = prove  # type: ignore[method-assign]
    assert await prune(bob) == 3
    assert seen == [{FrameStatus.BUSY}, {FrameStatus.BUSY}, {FrameStatus.OK}]
    frames = [bytes(part) async for part in bob.task.server.serve_blocks([Cid(bytes(32))], cyd.device)]
    assert frames[0][0] == FrameStatus.GONE  # and when it is over all is as before


async def test_who_lost_the_blocks_after_the_proof_counts_no_more(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    net, moments = world
    bob, cyd = net["bob"], net["cyd"]
    two = replace(SHORT, copies=2)
    assert await prune(bob, two) == 3
    cids = [entry.cid for entry in proofs.db_packed(bob.task.store, shelf_pids(bob))]
    assert len(proofs.db_proved(bob.task.store, cids, 1, bob.clock.now())) == 3
    lose(cyd)
    Calendar.days += 0.5
    assert await prune(bob) == 3
    assert not proofs.db_proved(bob.task.store, cids, 1, bob.clock.now())
    assert lacks(bob, moments) == [0, 0, 0, 0]


async def test_who_left_after_the_proof_counts_no_more(
    world: tuple[World, list[int]], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, moments = world
    bob = net["bob"]
    asked: list[DeviceId] = []
    for site in (net["ann"], net["cyd"]):
        prove = site.task.server.prove

        async def leave(
            asker: DeviceId, request: ProveRequest, site: SimSite = site, prove: Prove = prove
        ) -> ProveAnswer:
            bob.task.store.others -= {site.device}
            asked.append(site.device)
            return await prove(asker, request)

        monkeypatch.setattr(site.task.server, "prove", leave)
    await prune(bob)
    assert asked
    assert lacks(bob, moments) == [0, 0, 0, 0]


async def test_proof_counts_for_some_days_while_its_giver_is_away(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    net, moments = world
    bob = net["bob"]
    assert await prune(bob, replace(SHORT, copies=2)) == 3
    net.cut()
    Calendar.days += PROOF_S / DAY_S + 0.1
    assert await prune(bob) >= 3
    Calendar.days -= 0.2
    await prune(bob)
    assert lacks(bob, moments)[:3] == [0, 0, 0]  # what counts no more was forgotten
    net.mend()
    await net.settle()
    assert await prune(bob, replace(SHORT, copies=2)) >= 3
    net.cut()
    Calendar.days += PROOF_S / DAY_S - 0.1
    await prune(bob)
    assert lacks(bob, moments)[:3] == [1, 1, 1]


async def test_what_nobody_promises_goes_without_a_word(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    """Years later only the last state of each year is promised by anybody."""
    net, moments = world
    net.cut()
    Calendar.days += 21 * 365
    assert await prune(net["bob"]) == 0
    assert lacks(net["bob"], moments) == [1, 1, 1, 1]


def shelf_pids(site: SimSite) -> list[bytes]:
    return [entry[:32] for (entry,) in site.task.store.connection.execute("SELECT entry FROM block WHERE src%4=3")]
