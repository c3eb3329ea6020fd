"""Replaced and deleted files go into packs, and nothing else of theirs is ever dropped."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ca.ids import DeviceId
from syncd.folder.keeping import HOUSEKEEPING_S
from syncd.model.lists import BlockList
from syncd.protocol.frames import FrameStatus
from syncd.protocol.possession import HOLD_S
from syncd.store.folder import FolderStore, SourceReader, seal_served
from syncd.store.packing import (
    KEEP_WHEN_SHORT_S,
    PACK_AFTER_S,
    db_let_go,
    db_packed_of,
    db_superseded,
    pack_superseded,
)
from syncd.store.proofs import db_locate, db_note
from syncd.store.recovery import (
    RECHECK_AFTER_S,
    db_doubted,
    db_publish_late,
    db_recheck_old,
    publish_late_edits,
    read_late,
)
from syncd.treetypes import IoFailed, NoSpace, Path, Space, Stat
from tests.helpers.simtree import SimShelf
from tests.helpers.tasks import MOMENT, SimSite, World

FILE = (b"plan",)
LATER = MOMENT + 2 * PACK_AFTER_S
NOW_MS = int(MOMENT * 1000)


def old(site: SimSite) -> tuple[Path, Stat]:
    (name,) = site.disk.directory((b".syncd", b"old")).names
    path = (b".syncd", b"old", name)
    return path, site.disk.at(path).stat()


def olds(site: SimSite) -> int:
    return len(site.disk.directory((b".syncd", b"old")).names)


def housekeeping(store: FolderStore, now: float = LATER) -> int:
    """One round, as the folder's task does it."""
    edits = publish_late_edits(store, db_recheck_old(store, now), NOW_MS)
    due = db_superseded(store, now)
    db_let_go(store, compared := pack_superseded(store, due, db_packed_of(store, due)), now)
    return edits + publish_late_edits(store, compared.edited, NOW_MS)


def heads(store: FolderStore) -> int:
    (count,) = store.connection.execute("SELECT heads FROM node WHERE name=?", FILE).fetchone()
    return int(count)


def shelf(store: FolderStore) -> SimShelf:
    assert isinstance(store.packs.shelf, SimShelf)
    return store.packs.shelf


def first_version(store: FolderStore) -> BlockList:
    """The blocks of what the file held before, as its first changeset names them."""
    head, body = store.journal.sealed_body(1)
    content = store.open_changeset_untrusted(head, body).records[0].content
    assert content is not None
    return content.list


def read_block(store: FolderStore, blocks: BlockList) -> bytes:
    """What a peer gets who asks for the only block of a list."""
    (served,) = store.db_locate(blocks.cids())
    reader = SourceReader(store.tree, store.packs, store.keyring)
    place = memoryview(bytearray(served.most_bytes))
    status, length = seal_served(reader, store.keyring, served, memoryview(bytearray(100)), place)
    if status != 0:
        return b""
    (entry,) = blocks
    return store.keyring.cipher().open_untrusted(served.kind, entry.pid, entry.length, place[:length])


async def test_what_was_replaced_is_packed_within_the_hour_and_then_goes(
    world: World, autojump_clock: MockClock
) -> None:
    bob = world["bob"]
    store = bob.task.store
    blocks = first_version(store)
    housekeeping(store, MOMENT + PACK_AFTER_S / 2)
    assert olds(bob) == 1
    await trio.sleep(3600)
    assert olds(bob) == 0
    assert store.connection.execute("SELECT count(*) FROM old").fetchone() == (0,)
    assert store.db_have(blocks.cids()) == b"\x80"
    assert read_block(store, blocks) == b"first"
    assert b"first" not in b"".join(shelf(store).files.values())


async def test_block_is_packed_once(world: World, autojump_clock: MockClock) -> None:
    bob = world["bob"]
    housekeeping(bob.task.store)
    world.mend()
    for content in (b"first", b"third"):
        world["ann"].disk.write(FILE, content)
        await world.settle()
    assert olds(bob) == 2  # `second`, and `first` once more
    housekeeping(bob.task.store, LATER + 10 * PACK_AFTER_S)
    assert olds(bob) == 0
    (blocks,) = bob.task.store.connection.execute("SELECT sum(blocks) FROM pack").fetchone()
    assert blocks == 2


@pytest.mark.parametrize("trouble", ["rot", "gone", "unread"])
async def test_block_is_packed_again_where_its_pack_has_it_no_more(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """Between two scrubs nobody has read the pack: what lies in `.syncd/old` may be the last good copy."""
    bob = world["bob"]
    store = bob.task.store
    blocks = first_version(store)
    housekeeping(store)
    world.mend()
    for content in (b"first", b"third"):
        world["ann"].disk.write(FILE, content)
        await world.settle()
    assert olds(bob) == 2  # `second`, and `first` once more
    files, read = shelf(store).files, shelf(store).read
    ((name, content),) = files.items()
    if trouble == "rot":
        files[name] = content[:70] + bytes([content[70] ^ 1]) + content[71:]
    elif trouble == "gone":
        del files[name]
    else:

        def refuse(asked: str, offset: int, buffer: bytearray | memoryview) -> int:
            if asked == name:
                raise IoFailed("bad sector")
            return read(asked, offset, buffer)

        monkeypatch.setattr(shelf(store), "read", refuse)
    housekeeping(store, LATER + 10 * PACK_AFTER_S)
    assert olds(bob) == 0
    assert read_block(store, blocks) == b"first"


async def test_crash_at_any_step_of_packing_loses_nothing(world: World, autojump_clock: MockClock) -> None:
    bob = world["bob"]
    await world["ann"].stop()
    blocks = first_version(bob.task.store)
    (since,) = bob.task.store.connection.execute("SELECT since FROM old").fetchone()
    await trio.sleep(since + PACK_AFTER_S - bob.clock.now() - 2 * HOUSEKEEPING_S)
    assert olds(bob) == 1
    await world.restart(bob)
    await trio.sleep(1)
    steps = 0
    while olds(bob):
        steps += 1
        await trio.sleep(HOUSEKEEPING_S - 1.2)
        bob.pull_plug_after(steps)
        await trio.sleep(10)
        await bob.crash(keep=1000)
        await world.start(bob)
        await trio.sleep(1)
        assert read_block(bob.task.store, blocks) == b"first"
    assert steps > 5


async def test_packs_are_found_again_by_a_new_database(world: World, autojump_clock: MockClock) -> None:
    """Only the shelf is left of what was known."""
    bob = world["bob"]
    blocks = first_version(bob.task.store)
    housekeeping(bob.task.store)
    await bob.stop()
    bob.databases.lose("folder.db")
    await world.start(bob)
    await trio.sleep(5)
    assert read_block(bob.task.store, blocks) == b"first"


async def test_pack_that_vanished_is_not_offered_any_more(world: World, autojump_clock: MockClock) -> None:
    bob = world["bob"]
    blocks = first_version(bob.task.store)
    housekeeping(bob.task.store)
    shelf(bob.task.store).files.clear()
    assert read_block(bob.task.store, blocks) == b""
    await world.restart(bob)
    await trio.sleep(5)
    assert bob.task.store.db_have(blocks.cids()) == b"\x00"


async def test_flipped_bit_in_a_pack_is_never_served(world: World, autojump_clock: MockClock) -> None:
    bob = world["bob"]
    blocks = first_version(bob.task.store)
    housekeeping(bob.task.store)
    files = shelf(bob.task.store).files
    ((name, content),) = files.items()
    files[name] = content[:70] + bytes([content[70] ^ 1]) + content[71:]
    assert read_block(bob.task.store, blocks) == b""


async def test_where_no_pack_can_be_written_old_inodes_stay(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, content: object) -> None:
        raise NoSpace("the disk is full")

    bob = world["bob"]
    monkeypatch.setattr(shelf(bob.task.store), "put", refuse)
    assert housekeeping(bob.task.store) == 0
    assert olds(bob) == 1
    monkeypatch.undo()
    housekeeping(bob.task.store)
    assert olds(bob) == 0


@pytest.mark.parametrize(
    ("free", "after_s", "goes"), [(5, 3600, False), (5, 100_000, True), (0, 3600, True), (20, 100_000, False)]
)
async def test_disk_that_is_short_still_leaves_a_day_of_what_cannot_be_packed(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, free: int, after_s: int, goes: bool
) -> None:
    """Else a disk that is always rather full would keep nothing of what others delete."""
    assert 3600 < KEEP_WHEN_SHORT_S < 100_000
    bob = world["bob"]
    bob.task.store.others = frozenset()
    monkeypatch.setattr(bob.task.store.tree, "space", lambda: Space(free, 100))
    monkeypatch.setattr(shelf(bob.task.store), "space", lambda: Space(0, 100))
    housekeeping(bob.task.store, MOMENT + after_s)
    assert (olds(bob) == 0) is goes


@pytest.mark.parametrize(("free", "at_home", "goes"), [(0, 50, True), (0, 0, False), (2, 50, False)])
async def test_what_others_delete_makes_room_on_a_full_disk_once_it_was_compared(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, free: int, at_home: int, goes: bool
) -> None:
    """As far as packs can be written elsewhere: what is only moved from the full disk to itself makes no room."""
    bob = world["bob"]
    monkeypatch.setattr(bob.task.store.tree, "space", lambda: Space(free, 100))
    monkeypatch.setattr(shelf(bob.task.store), "space", lambda: Space(at_home, 100))
    assert 2 * RECHECK_AFTER_S < PACK_AFTER_S
    housekeeping(bob.task.store, MOMENT + 2 * RECHECK_AFTER_S)
    assert (olds(bob) == 0) is goes
    assert bool(shelf(bob.task.store).files) is goes


async def test_short_disk_lets_go_only_of_what_another_device_has_proved(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = world["ann"], world["bob"]
    store = bob.task.store
    monkeypatch.setattr(store.tree, "space", lambda: Space(0, 100))
    monkeypatch.setattr(shelf(store), "space", lambda: Space(0, 100))
    later = MOMENT + 100_000
    housekeeping(store, later)
    assert olds(bob) == 1
    cids = first_version(store).cids()
    db_note(store, DeviceId(b"nobody of the folder".ljust(32)), dict.fromkeys(cids, FrameStatus.OK), later)
    housekeeping(store, later)
    assert olds(bob) == 1
    db_note(store, ann.device, dict.fromkeys(cids, FrameStatus.OK), later)
    assert len(db_locate(store, cids, hold=True, now=later)) == 1  # meanwhile it was promised to ann
    housekeeping(store, later)
    assert olds(bob) == 1
    db_note(store, ann.device, dict.fromkeys(cids, FrameStatus.OK), later + HOLD_S + 1)
    housekeeping(store, later + HOLD_S + 2)
    assert olds(bob) == 0


async def test_bytes_that_changed_under_an_unchanged_stat_are_published_and_not_dropped(
    world: World, autojump_clock: MockClock
) -> None:
    """A program that maps a file writes exactly so; the stat was compared before, and was the same."""
    bob = world["bob"]
    store = bob.task.store
    path, stat = old(bob)
    housekeeping(store, MOMENT + 1000)
    bob.disk.rot(path, b"FIRST")
    assert old(bob)[1] == stat
    assert housekeeping(store) == 1
    assert bob.disk.read(path) == b"FIRST"
    assert heads(store) == 2


async def test_bytes_that_change_between_the_comparison_and_the_drop_stay(
    world: World, autojump_clock: MockClock
) -> None:
    bob = world["bob"]
    store = bob.task.store
    path, _ = old(bob)
    db_recheck_old(store, LATER)
    compared = pack_superseded(store, db_superseded(store, LATER), {})
    bob.disk.write(path, b"late!!")
    db_let_go(store, compared, LATER)
    assert publish_late_edits(store, compared.edited, NOW_MS) == 1
    assert bob.disk.read(path) == b"late!!"
    assert heads(store) == 2


async def test_disk_that_does_not_answer_is_no_reason_to_drop(world: World, autojump_clock: MockClock) -> None:
    bob = world["bob"]
    store = bob.task.store
    db_recheck_old(store, LATER)
    due = db_superseded(store, LATER)
    bob.disk.fail_at(1, IoFailed("a bad sector"))
    db_let_go(store, compared := pack_superseded(store, due, {}), LATER)
    assert not compared.edited
    old(bob)
    assert store.connection.execute("SELECT count(*) FROM old").fetchone() == (1,)


async def test_nobody_waits_at_the_rows_while_a_late_edit_is_read(world: World, autojump_clock: MockClock) -> None:
    """A large file takes minutes."""
    bob = world["bob"]
    store = bob.task.store
    calls: list[str] = []
    asked: list[str] = []

    def note(name: str) -> None:
        calls.append(name)
        store.connection.set_trace_callback(asked.append if calls.count("read_late") % 2 else None)

    path, _ = old(bob)
    bob.disk.write(path, b"late!!")
    bob.on_call = note
    await trio.sleep(2 * RECHECK_AFTER_S)
    assert "read_late" in calls and not asked
    assert heads(store) == 2


async def test_late_edit_that_two_have_read_is_published_once(world: World, autojump_clock: MockClock) -> None:
    bob = world["bob"]
    store = bob.task.store
    bob.disk.write(old(bob)[0], b"late!!")
    read = read_late(store, db_doubted(store, db_recheck_old(store, LATER)))
    assert db_publish_late(store, read, NOW_MS) == 1
    assert db_publish_late(store, read, NOW_MS) == 0
    assert heads(store) == 2


async def test_what_cannot_be_packed_is_not_read_all_the_time(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = world["bob"]
    calls: list[str] = []
    monkeypatch.setattr(shelf(bob.task.store), "space", lambda: Space(0, 100))
    bob.on_call = calls.append
    await trio.sleep(PACK_AFTER_S + 3600)
    assert 2 * 5 <= calls.count("pack_superseded") <= 2 * 13  # each is told before and after
    monkeypatch.undo()
    await trio.sleep(600)
    assert olds(bob) == 0


async def test_late_edit_of_a_device_that_may_not_publish_is_kept_for_good(
    world: World, autojump_clock: MockClock
) -> None:
    bob = world["bob"]
    store = bob.task.store
    world.members.viewers.add(DeviceId(bob.device))
    path, _ = old(bob)
    bob.disk.write(path, b"late!!")
    before = store.journal.newest_seq()
    (number,) = store.connection.execute("SELECT id FROM old").fetchone()
    assert publish_late_edits(store, [number], NOW_MS) == 0
    assert housekeeping(store) == 0
    assert store.journal.newest_seq() == before
    assert bob.disk.read(path) == b"late!!"


@pytest.mark.parametrize("is_late", [False, True])
async def test_inode_that_a_program_has_open_stays_until_that_closes_it(
    world: World, autojump_clock: MockClock, is_late: bool
) -> None:
    """What it writes hours after the file was replaced is an edit like any other."""
    ann, bob = world["ann"], world["bob"]
    store = bob.task.store
    file = bob.disk.open(FILE)
    world.mend()
    ann.disk.write(FILE, b"third")
    await world.settle()
    world.cut()
    await trio.sleep(5 * PACK_AFTER_S)
    assert olds(bob) == 1
    if is_late:
        file.write(b"late, and of bob's own", 0)
    file.close()
    await trio.sleep(2 * PACK_AFTER_S)
    contents = set(bob.disk.contents().values())
    assert (b"late, and of bob's own" in contents) is is_late
    assert heads(store) == 1 + is_late
    assert olds(bob) == 0
