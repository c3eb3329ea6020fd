"""What no promise covers goes, what one covers stays through every crash, and what rots comes back from a peer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from syncd.engine.retention import Policy, Step, Tier
from syncd.folder import archiving
from syncd.folder.archiving import ROUND_S, SCRUB_WITHIN_S
from syncd.model.cipher import BlockKind
from syncd.model.lists import pack_entry
from syncd.model.packs import PackBuilder
from syncd.store import pruning, restoring, snapshots
from syncd.store.folder import FolderStore
from syncd.store.pruning import Marking
from syncd.store.restoring import Moment
from syncd.treetypes import IoFailed, Path
from tests.helpers.simtree import SimShelf
from tests.helpers.tasks import SimClock, SimSite, World
from tests.simulation.test_restoring import past

pytestmark = pytest.mark.long

DAY_S = 86_400
FILE = (b"plan",)


def shelf(store: FolderStore) -> SimShelf:
    assert isinstance(store.packs.shelf, SimShelf)
    return store.packs.shelf


def packed(store: FolderStore) -> int:
    """Blocks in all packs."""
    (count,) = store.connection.execute("SELECT coalesce(sum(blocks),0) FROM pack").fetchone()
    return int(count)


def lacking(site: SimSite, at_ms: int) -> int:
    """Blocks of a moment that this device has not."""
    store = site.task.store
    tree = restoring.db_tree(store, Moment(at_ms))
    return len(restoring.db_lacking(store, [seen.content for seen in tree.values()])[0])


class Calendar(SimClock):
    """Days pass at a word."""

    days = 0.0

    def now(self) -> float:
        return super().now() + Calendar.days * DAY_S


@pytest.fixture
async def world() -> AsyncIterator[tuple[World, list[int]]]:
    """Ann wrote a file anew on five days; bob has packed what was there. And a moment of each of these days."""
    world = World(["ann", "bob"])
    Calendar.days = 0.0
    for site in world:
        site.clock = Calendar()
    moments = []
    async with world.running():
        for day in range(5):
            world["ann"].disk.write(FILE, b"day %d" % day)
            await world.settle()
            moments.append(int(world["ann"].clock.now() * 1000))
            await trio.sleep(70)
            Calendar.days += 1
            await trio.sleep(70)
        world.cut()
        yield world, moments


async def test_only_what_no_promise_covers_goes(world: tuple[World, list[int]], autojump_clock: MockClock) -> None:
    bob = world[0]["bob"]
    moments = world[1]
    store = bob.task.store
    assert packed(store) == 4
    assert [lacking(bob, at_ms) for at_ms in moments] == [0] * 5
    store.connection.execute("DELETE FROM snapshot")
    pruning.db_set_policy(store, Policy((Tier(Step.ALL, 3),), (), copies=0))
    foreseen = await bob.task.archivist.prune(dry_run=True)
    assert foreseen.versions == 2
    assert packed(store) == 4
    done = await bob.task.archivist.prune(dry_run=False)
    assert (done.freed, done.packs, done.kept_bytes) == (foreseen.freed, foreseen.packs, foreseen.kept_bytes)
    assert [lacking(bob, at_ms) for at_ms in moments] == [1, 1, 0, 0, 0]
    assert past(store, moments[2]) == {FILE: b"day 2"}
    assert past(store, moments[3]) == {FILE: b"day 3"}


async def test_pack_that_comes_during_the_marking_is_left_alone(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    store = world[0]["bob"].task.store
    policy = Policy((Tier(Step.YEAR, 1),), ())
    store.connection.execute("DELETE FROM snapshot")
    now = world[0]["bob"].clock.now()
    promise, came = pruning.db_promise(store, policy, now, UTC), pruning.db_arrivals(store, now)
    marking = Marking(store, promise, came, pruning.db_terms(store))
    marking.db_step()
    builder = PackBuilder(store.keyring.folder, BlockKind.DATA)
    cipher = store.keyring.cipher()
    sealed = cipher.seal(BlockKind.DATA, b"late")
    builder.add(pack_entry(sealed.pid, sealed.cid, 4, cipher.epoch), sealed.ciphertext)
    late = builder.finish(cipher)
    store.packs.shelf.put(late.name, late.content)
    store.packs.db_take_in([late], 0.0)
    while marking.db_step():
        pass
    chosen = pruning.db_collection(store, marking).packs
    assert chosen
    assert late.name not in {use.name for use in chosen}


@pytest.mark.parametrize("grows", ["snapshot", "retention", "roster"])
async def test_promise_that_grows_during_a_collection_is_kept(
    world: tuple[World, list[int]], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, grows: str
) -> None:
    """Others may take minutes to prove what they hold."""
    bob, moments = world[0]["bob"], world[1]
    store = bob.task.store
    store.connection.execute("DELETE FROM snapshot")
    pruning.db_set_policy(store, Policy((Tier(Step.ALL, 1),), (), copies=0))
    rewrite = pruning.rewrite

    def rewrite_meanwhile(*arguments: Any) -> pruning.Rewritten:
        match grows:
            case "snapshot":
                snapshots.db_add(store, "before the move", moments[1], bob.clock.now())
            case "retention":
                pruning.db_set_policy(store, Policy((Tier(Step.ALL, 30),), (), copies=0))
            case _:
                store.asked_tiers = (Tier(Step.ALL, 30),)
        return rewrite(*arguments)

    monkeypatch.setattr(pruning, "rewrite", rewrite_meanwhile)
    foreseen = await bob.task.archivist.prune(dry_run=True)
    done = await bob.task.archivist.prune(dry_run=False)
    assert [lacking(bob, at_ms) for at_ms in moments] == [0] * 5
    assert foreseen.freed > 0 and (done.freed, done.packs) == (0, 0)
    assert done.kept_bytes == foreseen.kept_bytes + foreseen.freed
    await bob.task.archivist.prune(dry_run=False)
    assert lacking(bob, moments[1]) == 0


async def test_clock_that_jumps_takes_nothing_for_old(
    world: tuple[World, list[int]], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, moments = world
    bob = net["bob"]
    monkeypatch.setattr(archiving, "COLLECT_EVERY_S", 800.0)
    bob.task.store.connection.execute("DELETE FROM snapshot")
    pruning.db_set_policy(bob.task.store, Policy((Tier(Step.ALL, 30),), (), copies=0))
    for days in (365, -365):
        Calendar.days += days
        await trio.sleep(700)
        assert lacking(bob, moments[0]) == 0
    bob.task.store.connection.execute("DELETE FROM snapshot")
    pruning.db_set_policy(bob.task.store, Policy((Tier(Step.ALL, 1),), (), copies=0))
    await trio.sleep(1200)
    assert lacking(bob, moments[0]) == 1, "but what is old goes, once the clock goes on as time does"


async def test_snapshot_outlasts_every_rule(world: tuple[World, list[int]], autojump_clock: MockClock) -> None:
    bob = world[0]["bob"]
    store = bob.task.store
    store.connection.execute("DELETE FROM snapshot")
    noted_by_ms = world[1][1] + 60_000  # what that day replaced had gone by then, also by when bob noted it
    snapshots.db_add(store, "before the move", noted_by_ms, bob.clock.now())
    pruning.db_set_policy(store, Policy((Tier(Step.YEAR, 1),), (), copies=0))
    await bob.task.archivist.prune(dry_run=False)
    assert [lacking(bob, at_ms) for at_ms in world[1]] == [1, 0, 1, 1, 0]


async def test_space_shrinks_the_promise_down_to_its_floor_and_no_further(
    world: tuple[World, list[int]], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = world[0]["bob"]
    store = bob.task.store
    store.connection.execute("DELETE FROM snapshot")
    floor = (Tier(Step.ALL, 2),)
    policy = Policy((Tier(Step.ALL, 90),), floor, space_bytes=1, copies=0)
    monkeypatch.setattr(pruning, "db_policy", lambda store: policy)
    pruned = await bob.task.archivist.prune(dry_run=False)
    assert pruned.is_short
    assert [lacking(bob, at_ms) for at_ms in world[1]][-2:] == [0, 0]


async def test_snapshots_are_taken_twice_a_day_and_after_a_sleep_once(
    world: tuple[World, list[int]], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "COLLECT_EVERY_S", 3 * ROUND_S)
    bob = world[0]["bob"]
    store = bob.task.store
    store.connection.execute("DELETE FROM snapshot")
    for hours, count in ((0, 1), (6, 1), (6, 2), (6, 2), (6, 3), (100, 4)):
        Calendar.days += hours / 24
        await trio.sleep(1.1 * ROUND_S)
        assert len(snapshots.db_list(store)) == count
    for days, rounds, count in ((91, 1.1, 5), (0.5, 4, 2)):  # none goes because the clock jumped, but once it goes on
        Calendar.days += days
        await trio.sleep(rounds * ROUND_S)
        assert len(snapshots.db_list(store)) == count


async def test_start_with_a_clock_that_is_ahead_forgets_no_snapshot(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    net = world[0]
    bob = net["bob"]
    before = {one.name for one in snapshots.db_list(bob.task.store)}
    assert before
    await bob.stop()
    Calendar.days += 400
    await net.start(bob)
    await trio.sleep(1.1 * ROUND_S)
    assert {one.name for one in snapshots.db_list(bob.task.store)} > before


async def test_power_cut_at_any_step_of_a_collection_loses_nothing_promised(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    bob = world[0]["bob"]
    moments = world[1]
    bob.task.store.connection.execute("DELETE FROM snapshot")
    pruning.db_set_policy(bob.task.store, Policy((Tier(Step.ALL, 3),), (), copies=0))
    before = packed(bob.task.store)
    for steps in range(1, 60, 2):
        bob.pull_plug_after(steps)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_prune, bob)
        await bob.crash(keep=1000)
        await world[0].start(bob)
        await trio.sleep(2)
        store = bob.task.store
        assert past(store, moments[2]) == {FILE: b"day 2"}
        assert past(store, moments[3]) == {FILE: b"day 3"}
    assert packed(bob.task.store) < before


async def _prune(site: SimSite) -> None:
    try:
        await site.task.archivist.prune(dry_run=False)
    except BaseException as error:  # the power failed
        if type(error).__name__ != "PowerCut":
            raise


async def test_flipped_bit_is_found_within_one_scrub_and_healed_from_a_peer(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    """Ann has the bytes of the second day in another file; the rest of the damaged packs only bob had."""
    net, moments = world
    ann, bob = net["ann"], net["bob"]
    bob.task.store.connection.execute("DELETE FROM meta WHERE key='retention'")
    net.mend()
    ann.disk.write((b"copy",), b"day 1")
    await net.settle()
    bob.task.store.connection.execute("DELETE FROM block WHERE src%4<>3")  # else bob would find it in his tree
    files = shelf(bob.task.store).files
    for name, content in list(files.items()):
        files[name] = content[:66] + bytes([content[66] ^ 1]) + content[67:]
    count = len(files)
    audited: list[str] = []

    async def audit(action: str, about: str) -> None:
        audited.append(action)

    bob.task.on_audit = audit
    scrubbed = await bob.task.archivist.scrub(0.0)
    assert (scrubbed.damaged, scrubbed.healed) == (count, 1)
    assert audited == ["history healed"] * count
    assert lacking(bob, moments[1]) == 0
    assert (await bob.task.archivist.scrub(-1.0)).damaged == 0


@pytest.mark.parametrize("where", ["pack", "tree"])
async def test_block_that_is_whole_elsewhere_on_this_disk_is_not_lost(
    world: tuple[World, list[int]], autojump_clock: MockClock, where: str
) -> None:
    bob, moments = world[0]["bob"], world[1]
    store = bob.task.store
    if where == "tree":
        bob.disk.write((b"copy",), b"day 1")
        await trio.sleep(10)
    before = restoring.db_tree(store, Moment(moments[1]))[FILE].content
    (entry,) = before.list
    ((name, offset, raw),) = store.packs.db_places([entry.pid])[entry.pid]
    content = shelf(store).files[name]
    if where == "pack":
        builder = PackBuilder(store.keyring.folder, BlockKind.DATA)
        cipher = store.keyring.cipher()
        builder.add(raw, content[offset : offset + cipher.sealed_length(entry.length)])
        other = cipher.seal(BlockKind.DATA, b"other")
        builder.add(pack_entry(other.pid, other.cid, 5, cipher.epoch), other.ciphertext)
        pack = builder.finish(cipher)
        store.packs.shelf.put(pack.name, pack.content)
        store.packs.db_take_in([pack], bob.clock.now())
    shelf(store).files[name] = content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :]
    scrubbed = await bob.task.archivist.scrub(0.0)
    assert (scrubbed.damaged, scrubbed.healed, scrubbed.lost) == (1, 0, 0)


async def test_pack_that_the_disk_refuses_is_no_damaged_one_and_delays_no_other(
    world: tuple[World, list[int]], autojump_clock: MockClock
) -> None:
    bob = world[0]["bob"]
    connection, files = bob.task.store.connection, dict(shelf(bob.task.store).files)
    connection.execute("UPDATE pack SET verified=0")
    (first,) = connection.execute("SELECT name FROM pack ORDER BY verified LIMIT 1").fetchone()
    before = bob.disk.hook
    assert before is not None and len(files) > 1

    def refuse(step: str, path: Path) -> None:
        before(step, path)
        if (step, path) == ("shelf.read", (first.encode(),)):
            raise IoFailed("bad sector", path)

    bob.disk.hook = refuse
    scrubbed = await bob.task.archivist.scrub(0.0)
    assert (scrubbed.packs, scrubbed.damaged, scrubbed.lost) == (len(files) - 1, 1, 0)
    assert shelf(bob.task.store).files == files
    assert connection.execute("SELECT name FROM pack WHERE verified=0").fetchall() == [(first,)]
    bob.disk.hook = before
    assert (await bob.task.archivist.scrub(0.0)).damaged == 0
    assert shelf(bob.task.store).files == files


async def test_every_pack_is_read_again_in_time(world: tuple[World, list[int]], autojump_clock: MockClock) -> None:
    bob = world[0]["bob"]
    (oldest,) = bob.task.store.connection.execute("SELECT min(verified) FROM pack").fetchone()
    bob.task.store.connection.execute("UPDATE pack SET verified=?", (oldest - SCRUB_WITHIN_S,))
    await trio.sleep(6 * ROUND_S)
    (oldest,) = bob.task.store.connection.execute("SELECT min(verified) FROM pack").fetchone()
    assert oldest > bob.clock.now() - 7 * ROUND_S


@pytest.mark.parametrize("name", [b"other", b"plan"], ids=["beside", "over what stood until now"])
async def test_change_from_a_clock_that_is_years_behind_makes_nothing_old(
    world: tuple[World, list[int]], autojump_clock: MockClock, name: bytes
) -> None:
    """Its label moves all that it has seen back in time, and ends in the past what it replaces."""
    net = world[0]
    ann, bob = net["ann"], net["bob"]
    net.mend()
    await net.settle()
    Calendar.days -= 20 * 365
    ann.disk.write((name,), b"written before the clock was set")
    await net.settle()
    Calendar.days += 20 * 365
    await trio.sleep(70)
    bob.task.store.connection.execute("DELETE FROM snapshot")
    pruning.db_set_policy(bob.task.store, Policy((Tier(Step.ALL, 30),), (), copies=0))
    before = packed(bob.task.store)
    assert before >= 4
    pruned = await bob.task.archivist.prune(dry_run=False)
    assert (pruned.versions, packed(bob.task.store)) == (0, before)
