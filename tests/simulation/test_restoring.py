"""Back to any moment: exact on every device that kept what was there, safe against crashes, refused when it cannot be
whole, and undone by one word."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping

import pytest
import trio
from trio.testing import MockClock

from syncd.engine.timeline import Seen
from syncd.model.records import ContentKind
from syncd.store import resolving, restoring
from syncd.store.folder import FolderStore, SourceReader
from syncd.store.journal import NoRight
from syncd.store.looking import db_search, db_versions
from syncd.store.packing import PACK_AFTER_S
from syncd.store.past import Past
from syncd.store.restoring import Moment, Part
from syncd.treetypes import Path
from tests.helpers.simdisk import SimDisk
from tests.helpers.tasks import SimSite, World

pytestmark = pytest.mark.long

Picture = dict[Path, bytes | None]
NAMES = [b"a", b"b", b"c.txt", b"d", b"e.bin"]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(["ann", "bob"])
    async with world.running():
        await world.settle()
        yield world


def now_ms(site: SimSite) -> int:
    return int(site.clock.now() * 1000)


def picture(site: SimSite) -> Picture:
    return dict(site.disk.contents())


def past(store: FolderStore, at_ms: int) -> Picture:
    """What stood there at a moment, every byte read from what this device has kept."""
    reader = SourceReader(store.tree, store.packs, store.keyring)
    seen: Picture = {}
    for path, one in restoring.db_tree(store, Moment(at_ms)).items():
        content = one.content
        if content.kind is ContentKind.DIRECTORY:
            seen[path] = None
        elif content.kind is ContentKind.SYMLINK:
            seen[path] = b"-> " + content.target
        else:
            seen[path] = b""
            for entry, places in restoring.db_places(store, restoring.db_packed(store, content)):
                view = memoryview(bytearray(entry.length))
                assert any(reader.read(source, offset, entry, view) for source, offset in places), path
                assert store.keyring.cipher().pid(content.kind, view) == entry.pid  # type: ignore[arg-type]
                seen[path] = (seen[path] or b"") + bytes(view)
    return seen


def edit(disk: SimDisk, chance: random.Random) -> None:
    """One thing that somebody does: write, make, move, delete."""
    shown = disk.contents()
    directories: list[Path] = [(), *(path for path, content in shown.items() if content is None)]
    path = (*chance.choice(directories), chance.choice(NAMES))
    others = [other for other in shown if other != path]
    match chance.choice(["write", "write", "write", "mkdir", "move", "delete", "link"]):
        case "write" if shown.get(path, b"") is not None and not (shown.get(path) or b"").startswith(b"-> "):
            disk.write(path, chance.randbytes(chance.choice([0, 5, 3000])))
        case "mkdir" if path not in shown and len(path) < 4:
            disk.mkdir(path)
        case "link" if path not in shown:
            disk.symlink(path, b"somewhere")
        case "move" if others and path not in shown:
            source = chance.choice(others)
            if path[: len(source)] != source:
                disk.rename(source, path)
        case "delete" if others:
            disk.delete(chance.choice(others))
        case _:
            pass


async def live(world: World, chance: random.Random, edits: int) -> list[tuple[int, Picture]]:
    """People work on both computers, now and then cut from each other; what was there when all was quiet."""
    ann, bob = world["ann"], world["bob"]
    moments = [(now_ms(ann), picture(ann))]
    for number in range(edits):
        is_apart = number % 9 == 5
        if is_apart:
            world.cut()
        for site in (ann, bob) if is_apart else (ann if chance.random() < 0.7 else bob,):
            edit(site.disk, chance)
        await trio.sleep(5)
        if is_apart:
            world.mend()
        await world.settle()
        world.demand_equal()
        moments.append((now_ms(ann), picture(ann)))
        await trio.sleep(chance.choice([1, 30]))
    return moments


@pytest.mark.parametrize("seed", range(2))
async def test_every_moment_is_exact_on_both_devices(world: World, autojump_clock: MockClock, seed: int) -> None:
    """Including what must not be there. The device that did not make a change has kept what it replaced."""
    chance = random.Random(seed)
    moments = await live(world, chance, 18)
    world.cut()
    await trio.sleep(2 * PACK_AFTER_S)
    at_peer = {}
    for at_ms, expected in moments:
        for name in ("ann", "bob"):
            store = world[name].task.store
            tree = restoring.db_tree(store, Moment(at_ms))
            assert tree.keys() == expected.keys()
            lacking, _ = restoring.db_lacking(store, [seen.content for seen in tree.values()])
            at_peer[name] = lacking
            if not lacking:
                assert past(store, at_ms) == expected
            demand_same_alone(store, at_ms, tree)
        missing = {entry.pid for entry in at_peer["ann"]} & {entry.pid for entry in at_peer["bob"]}
        assert not missing, "what one has changed the other has kept"


def demand_same_alone(store: FolderStore, at_ms: int, tree: Mapping[Path, Seen]) -> None:
    """A file that is looked at without all others is what it is among them."""
    past = Past(store, restoring.DRAWN_OPENED)
    versions = {(one.node, one.copy, one.version, one.content) for one in tree.values()}
    for seen in tree.values():
        if seen.content.kind is ContentKind.FILE:
            (row,) = store.connection.execute("SELECT id FROM node WHERE nid=?", (seen.node,)).fetchone()
            found = past.tree_with(past.counts_at(at_ms), [row]).values()
            alone = {(one.node, one.copy, one.version, one.content) for one in found}
            assert (seen.node, seen.copy, seen.version, seen.content) in alone
            assert alone <= versions


async def test_of_a_large_folder_a_few_files_are_drawn(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None that did not stand there, and in the end every one; few changesets are open meanwhile."""
    [*_, (at_ms, _)] = await live(world, random.Random(5), 12)
    store = world["ann"].task.store
    whole = restoring.db_tree(store, Moment(at_ms))
    files = {one.node for one in whole.values() if one.content.kind is ContentKind.FILE}
    assert restoring.db_some_of_tree(store, Moment(at_ms), [0.5]) == whole  # a small one is looked at whole
    monkeypatch.setattr(restoring, "WHOLE", 0)
    drawn = [restoring.db_some_of_tree(store, Moment(at_ms), [number / 200]) for number in range(200)]
    found = {one.node for some in drawn for one in some.values() if one.content.kind is ContentKind.FILE}
    assert found == files
    assert min(map(len, drawn)) < len(whole)


async def restore(site: SimSite, at_ms: int, part: Part = Part()) -> str:  # noqa: B008 - a frozen value
    store = site.task.store
    deed = restoring.db_restore(store, Moment(at_ms), part, "test", site.clock.now())
    site.task.announce(store.journal.newest_seq())
    site.task.wake_plan()
    return "" if deed is None else deed.id


async def test_restored_folder_is_what_it_was_everywhere_and_undo_leads_back(
    world: World, autojump_clock: MockClock
) -> None:
    chance = random.Random(7)
    moments = await live(world, chance, 14)
    bob = world["bob"]
    for at_ms, expected in chance.sample(moments, 4):
        before = picture(bob)
        foreseen = restoring.db_foresee(bob.task.store, Moment(at_ms), Part())
        if foreseen.lacking:
            continue
        deed = await restore(bob, at_ms)
        await world.settle()
        world.demand_equal()
        assert picture(world["ann"]) == expected
        if deed:
            (known,) = [one for one in restoring.db_deeds(bob.task.store) if one.id == deed]
            undone = restoring.db_undo(bob.task.store, known, bob.clock.now())
            assert undone.changed == 0
            bob.task.announce(bob.task.store.journal.newest_seq())
            bob.task.wake_plan()
            await world.settle()
            world.demand_equal()
            if not any(b" (conflict " in path[-1] for path in before):
                assert picture(world["ann"]) == before
    world.demand_no_trouble()


@pytest.fixture
async def changed(world: World) -> AsyncIterator[tuple[World, int]]:
    """Ann replaced one file and deleted another; bob keeps what was there. And the moment before."""
    ann = world["ann"]
    ann.disk.write((b"plan",), b"first")
    ann.disk.mkdir((b"d",))
    ann.disk.write((b"d", b"x"), b"gone")
    await world.settle()
    at_ms = now_ms(ann)
    await trio.sleep(10)
    ann.disk.write((b"plan",), b"second")
    ann.disk.delete((b"d",))
    ann.disk.write((b"later",), b"later")
    await world.settle()
    yield world, at_ms


async def test_power_cut_at_any_step_of_a_restore_leaves_the_old_tree_or_leads_to_the_new_one(
    changed: tuple[World, int], autojump_clock: MockClock
) -> None:
    world, at_ms = changed
    bob = world["bob"]
    after = {(b"plan",): b"first", (b"d",): None, (b"d", b"x"): b"gone"}
    for steps in range(2, 66, 5):
        before = picture(bob)
        bob.pull_plug_after(steps)
        if bob.is_running:
            await restore(bob, at_ms)
        await trio.sleep(2)
        await bob.crash(keep=10_000)
        await world.start(bob)
        await world.settle()
        world.demand_equal()
        deeds = restoring.db_deeds(bob.task.store)
        if not deeds:
            assert picture(bob) == before
            continue
        assert picture(bob) == after
        restoring.db_undo(bob.task.store, deeds[0], bob.clock.now())
        bob.task.announce(bob.task.store.journal.newest_seq())
        bob.task.wake_plan()
        await world.settle()
        assert picture(bob) == before
    world.demand_no_trouble()


async def test_one_path_comes_back_and_nothing_else_is_touched(
    changed: tuple[World, int], autojump_clock: MockClock
) -> None:
    world, at_ms = changed
    await restore(world["bob"], at_ms, Part((b"d", b"x")))
    await world.settle()
    world.demand_equal()
    expected = {(b"plan",): b"second", (b"later",): b"later", (b"d",): None, (b"d", b"x"): b"gone"}
    assert picture(world["ann"]) == expected


async def test_names_that_match_come_back_and_no_others(changed: tuple[World, int], autojump_clock: MockClock) -> None:
    world, at_ms = changed
    await restore(world["bob"], at_ms, Part((), "pl*"))
    await world.settle()
    assert picture(world["ann"]) == {(b"plan",): b"first", (b"later",): b"later"}


async def test_what_only_a_peer_has_kept_is_said_before_anything_is_touched(
    changed: tuple[World, int], autojump_clock: MockClock
) -> None:
    """Ann overwrote and deleted it herself; bob took it away when he was told, and kept it."""
    world, at_ms = changed
    for name, lacks in (("ann", 2), ("bob", 0)):
        foreseen = restoring.db_foresee(world[name].task.store, Moment(at_ms), Part())
        assert len(foreseen.lacking) == lacks
        assert (foreseen.deletes, foreseen.size) == (1, 9)


@pytest.mark.parametrize("part", [Part((b"b.txt",)), Part((), "b.txt"), Part()])
async def test_who_wants_the_same_name_keeps_its_own_when_a_part_is_restored(
    world: World, autojump_clock: MockClock, part: Part
) -> None:
    """Ann and bob made `b.txt` while they were apart; before that there was none."""
    ann, bob = world["ann"], world["bob"]
    ann.disk.write((b"other",), b"is no part of this")
    await world.settle()
    at_ms = now_ms(ann)
    await trio.sleep(2)
    world.cut()
    ann.disk.mkdir((b"b.txt",))
    bob.disk.write((b"b.txt",), b"by bob")
    await trio.sleep(5)
    world.mend()
    await world.settle()
    before = picture(ann)
    (conflict,) = before.keys() - {(b"b.txt",), (b"other",)}
    await restore(bob, at_ms, part)
    await world.settle()
    world.demand_equal()
    expected: Picture = {(b"other",): b"is no part of this"}
    if part != Part():
        expected[conflict] = b"by bob"
    if part.only is not None:
        expected[b"b.txt",] = None  # a pattern takes files alone
    assert picture(ann) == expected


async def test_viewer_publishes_no_restore(changed: tuple[World, int], autojump_clock: MockClock) -> None:
    world, at_ms = changed
    bob = world["bob"]
    world.members.viewers.add(bob.device)
    newest = bob.task.store.journal.newest_seq()
    with pytest.raises(NoRight):
        restoring.db_restore(bob.task.store, Moment(at_ms), Part(), "test", bob.clock.now())
    assert bob.task.store.journal.newest_seq() == newest
    assert restoring.db_deeds(bob.task.store) == []


async def test_undo_leaves_alone_what_was_edited_since(changed: tuple[World, int], autojump_clock: MockClock) -> None:
    world, at_ms = changed
    bob = world["bob"]
    await restore(bob, at_ms)
    await world.settle()
    bob.disk.write((b"plan",), b"edited since")
    await world.settle()
    (deed,) = restoring.db_deeds(bob.task.store)
    assert restoring.db_undo(bob.task.store, deed, bob.clock.now()).changed == 1
    bob.task.wake_plan()
    bob.task.announce(bob.task.store.journal.newest_seq())
    await world.settle()
    assert picture(world["ann"]) == {(b"plan",): b"edited since", (b"later",): b"later"}


async def test_wave_of_deletions_is_undone_as_a_whole(world: World, autojump_clock: MockClock) -> None:
    ann, bob = world["ann"], world["bob"]
    ann.disk.mkdir((b"many",))
    for number in range(60):
        ann.disk.write((b"many", b"%d" % number), b"number %d" % number)
    ann.disk.write((b"few",), b"few")
    await world.settle()
    before = picture(bob)
    ann.disk.delete((b"few",))
    await world.settle()
    assert restoring.db_deeds(bob.task.store) == []
    ann.disk.delete((b"many",))
    await trio.sleep(5)
    for wave in await ann.task.waves.held():
        await ann.task.waves.approve(wave.id)
    await trio.sleep(5)
    for wave in await bob.task.waves.held():
        await bob.task.waves.approve(wave.id)
    await world.settle()
    assert picture(bob) == {}
    (deed,) = restoring.db_deeds(bob.task.store)
    assert (deed.kind, deed.about) == ("delete", "deletions by ann")
    restoring.db_undo(bob.task.store, deed, bob.clock.now())
    bob.task.announce(bob.task.store.journal.newest_seq())
    bob.task.wake_plan()
    await world.settle()
    world.demand_equal()
    del before[(b"few",)]
    assert picture(ann) == before


@pytest.mark.parametrize("keep", ["mine", "theirs"])
async def test_resolve_is_undone_and_every_version_is_back_under_its_name(
    world: World, autojump_clock: MockClock, keep: str
) -> None:
    ann, bob = world["ann"], world["bob"]
    ann.disk.mkdir((b"d",))
    ann.disk.write((b"d", b"plan.txt"), b"as agreed")
    await world.settle()
    world.cut()
    ann.disk.write((b"d", b"plan.txt"), b"by ann")
    bob.disk.write((b"d", b"plan.txt"), b"by bob")
    await trio.sleep(5)
    world.mend()
    await world.settle()
    before = picture(ann)
    resolving.db_resolve(ann.task.store, (b"d", b"plan.txt"), keep, now_ms(ann))
    await publish_and_settle(world, ann)
    chosen = b"by ann" if keep == "mine" else b"by bob"
    assert picture(bob) == {(b"d",): None, (b"d", b"plan.txt"): chosen}
    (deed,) = restoring.db_deeds(ann.task.store)
    assert (deed.kind, deed.about) == ("resolve", "d/plan.txt")
    undone = restoring.db_undo(ann.task.store, deed, ann.clock.now())
    assert undone.changed == 0
    await publish_and_settle(world, ann)
    world.demand_equal()
    assert picture(bob) == before
    newest, known = restoring.db_deeds(ann.task.store)
    assert known.undone == newest.id


async def in_conflict(world: World) -> tuple[int, int]:
    """A file with two versions in a directory. When there was one, which bob has kept, and when there were two."""
    ann, bob = world["ann"], world["bob"]
    ann.disk.mkdir((b"d",))
    ann.disk.write((b"d", b"plan.txt"), b"as agreed")
    await world.settle()
    single = now_ms(ann)
    await trio.sleep(5)
    ann.disk.write((b"d", b"plan.txt"), b"agreed anew")  # so that bob keeps what it was before
    await world.settle()
    world.cut()
    ann.disk.write((b"d", b"plan.txt"), b"by ann")
    bob.disk.write((b"d", b"plan.txt"), b"by bob")
    await trio.sleep(5)
    world.mend()
    await world.settle()
    both = now_ms(ann)
    await trio.sleep(5)
    return single, both


async def undo_newest(world: World, site: SimSite) -> restoring.Undone:
    deed = restoring.db_deeds(site.task.store)[0]
    undone = restoring.db_undo(site.task.store, deed, site.clock.now())
    await publish_and_settle(world, site)
    world.demand_equal()
    return undone


@pytest.mark.parametrize("path", [(), (b"d", b"plan.txt")])
async def test_undo_of_a_restore_that_ended_a_conflict_brings_both_versions_back(
    world: World, autojump_clock: MockClock, path: Path
) -> None:
    single, _ = await in_conflict(world)
    ann, bob = world["ann"], world["bob"]
    before = picture(ann)
    copy = next(path for path in before if b"conflict" in path[-1])
    without = {**before, (b"d", b"plan.txt"): b"as agreed"}
    if not path:
        del without[copy]
    restoring.db_restore(bob.task.store, Moment(single), Part(path), "test", bob.clock.now())
    await publish_and_settle(world, bob)
    assert picture(ann) == without
    assert (await undo_newest(world, bob)).changed == 0
    assert picture(ann) == before
    await undo_newest(world, bob)
    assert picture(ann) == without
    await undo_newest(world, bob)
    assert picture(ann) == before


async def test_undo_of_a_restore_to_a_conflict_that_is_still_there_loses_no_version(
    world: World, autojump_clock: MockClock
) -> None:
    """Restored, the second version is a file of its own; that one stays."""
    _, both = await in_conflict(world)
    ann, bob = world["ann"], world["bob"]
    before = picture(ann)
    ann.disk.write((b"later",), b"later")
    await world.settle()
    restoring.db_restore(ann.task.store, Moment(both), Part(), "test", ann.clock.now())
    await publish_and_settle(world, ann)
    assert picture(bob) == before
    await undo_newest(world, ann)
    assert picture(bob) == {**before, (b"later",): b"later"}


async def test_undo_of_a_restore_leaves_a_copy_alone_that_was_edited_since(
    world: World, autojump_clock: MockClock
) -> None:
    _, both = await in_conflict(world)
    ann, bob = world["ann"], world["bob"]
    before = picture(ann)
    copy = next(path for path in before if b"conflict" in path[-1])
    ann.disk.write((b"later",), b"later")
    await world.settle()
    restoring.db_restore(ann.task.store, Moment(both), Part(), "test", ann.clock.now())
    await publish_and_settle(world, ann)
    bob.disk.write(copy, b"went on")
    await world.settle()
    assert (await undo_newest(world, ann)).changed == 1
    assert picture(bob) == {**before, (b"later",): b"later", copy: b"went on"}


async def test_wave_of_deletions_is_undone_with_both_versions_of_what_was_in_conflict(
    world: World, autojump_clock: MockClock
) -> None:
    await in_conflict(world)
    ann, bob = world["ann"], world["bob"]
    for number in range(60):
        ann.disk.write((b"d", b"%d" % number), b"number %d" % number)
    await world.settle()
    before = picture(bob)
    ann.disk.delete((b"d",))
    await trio.sleep(5)
    for site in (ann, bob):
        for wave in await site.task.waves.held():
            await site.task.waves.approve(wave.id)
        await trio.sleep(5)
    await world.settle()
    assert picture(bob) == {}
    await undo_newest(world, bob)
    assert picture(ann) == before


async def test_resolve_after_which_somebody_went_on_is_left_as_it_is(world: World, autojump_clock: MockClock) -> None:
    ann, bob = world["ann"], world["bob"]
    world.cut()
    ann.disk.write((b"plan",), b"by ann")
    bob.disk.write((b"plan",), b"by bob")
    await trio.sleep(5)
    world.mend()
    await world.settle()
    resolving.db_resolve(ann.task.store, (b"plan",), "mine", now_ms(ann))
    await publish_and_settle(world, ann)
    bob.disk.write((b"plan",), b"went on")
    await world.settle()
    (deed,) = restoring.db_deeds(ann.task.store)
    assert restoring.db_undo(ann.task.store, deed, ann.clock.now()).changed == 1
    await publish_and_settle(world, ann)
    assert picture(ann) == {(b"plan",): b"went on"}


async def test_undo_of_a_wave_brings_back_what_went_before_it_was_one(world: World, autojump_clock: MockClock) -> None:
    """A few names are noticed, and published, before the rest; what was deleted long before stays deleted."""
    ann, bob = world["ann"], world["bob"]
    ann.disk.mkdir((b"many",))
    for number in range(70):
        ann.disk.write((b"many", b"%d" % number), b"number %d" % number)
    ann.disk.write((b"many", b"on purpose"), b"by and by")
    await world.settle()
    ann.disk.delete((b"many", b"on purpose"))
    await world.settle()
    await trio.sleep(2 * restoring.WAVE_S)
    before = picture(bob)
    for number in range(5):
        ann.disk.delete((b"many", b"%d" % number))
    await world.settle()
    ann.disk.delete((b"many",))
    await trio.sleep(5)
    for site in (ann, bob):
        for wave in await site.task.waves.held():
            await site.task.waves.approve(wave.id)
        await trio.sleep(5)
    await world.settle()
    assert picture(bob) == {}
    (deed,) = restoring.db_deeds(bob.task.store)
    restoring.db_undo(bob.task.store, deed, bob.clock.now())
    await publish_and_settle(world, bob)
    assert picture(ann) == before


async def publish_and_settle(world: World, site: SimSite) -> None:
    site.task.announce(site.task.store.journal.newest_seq())
    site.task.wake_plan()
    await world.settle()


async def test_versions_of_a_path_and_names_that_are_gone_are_found(
    changed: tuple[World, int], autojump_clock: MockClock
) -> None:
    world, _ = changed
    store = world["bob"].task.store
    lines = db_versions(store, (b"plan",), 10)
    assert [(line.action, line.size, line.by, line.is_current) for line in lines] == [
        ("changed", 6, "ann", True),
        ("created", 5, "ann", False),
    ]
    assert [line.action for line in db_versions(store, (b"d", b"x"), 10)] == ["deleted", "created"]
    assert db_versions(store, (b"never",), 10) == []
    assert db_search(store, "LA", 10) == [((b"later",), True), ((b"plan",), True)]
    assert db_search(store, "x", 10) == [((b"d", b"x"), False)]
    assert db_search(store, "%", 10) == []
