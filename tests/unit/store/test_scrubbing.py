"""A pack that is damaged, or cannot be read: what is whole in it stays, and no other pack waits for it."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path as FilePath

import pytest
from trio.testing import MockClock

from syncd.engine.retention import DEFAULT
from syncd.model.cipher import BlockKind
from syncd.model.lists import BlockList, pack_entry
from syncd.model.packs import PackBuilder
from syncd.store.folder import FolderStore
from syncd.store.packing import PACK_AFTER_S, db_let_go, db_packed_of, db_superseded, pack_superseded
from syncd.store.pruning import (
    Marking,
    PackUse,
    db_arrivals,
    db_collection,
    db_exchange,
    db_promise,
    db_retire_damaged,
    db_terms,
    db_to_scrub,
    rescue,
    rewrite,
    scrub,
)
from syncd.store.recovery import db_recheck_old
from syncd.store.shelf import HomeShelf
from syncd.treetypes import IoFailed, TreeError
from tests.helpers.simtree import SimShelf
from tests.helpers.tasks import MOMENT, World
from tests.unit.store.test_disk_errors import refusing

LATER = MOMENT + 2 * PACK_AFTER_S
PLACES = [pytest.param(20, id="header"), pytest.param(-1, id="trailer"), pytest.param(-150, id="index")]


def shelf(store: FolderStore) -> SimShelf:
    assert isinstance(store.packs.shelf, SimShelf)
    return store.packs.shelf


def pack_now(store: FolderStore, later: float = LATER) -> None:
    db_recheck_old(store, later)
    due = db_superseded(store, later)
    db_let_go(store, pack_superseded(store, due, db_packed_of(store, due)), later)


def demand_whole(store: FolderStore) -> None:
    """Every block that a row knows in a pack can be read there."""
    found = store.connection.execute(
        "SELECT p.name, b.off, b.entry FROM block b JOIN pack p ON b.src=p.id*4+3 WHERE b.src%4=3"
    ).fetchall()
    assert found
    for name, offset, packed in found:
        (entry,) = BlockList(packed)
        sealed = store.packs.read_at(name, offset, entry.length + 16)
        assert store.keyring.cipher().open_untrusted(BlockKind.DATA, entry.pid, entry.length, sealed)


def flip(store: FolderStore, at: int) -> str:
    """A bit of the only pack; its name."""
    ((name, content),) = shelf(store).files.items()
    damaged = bytearray(content)
    damaged[at] ^= 1
    shelf(store).files[name] = bytes(damaged)
    return name


@pytest.mark.parametrize("at", PLACES)
async def test_pack_whose_blocks_are_all_whole_is_written_anew_under_the_name_it_had(
    world: World, autojump_clock: MockClock, at: int
) -> None:
    """Only what is around them was damaged, so the very same bytes are made again."""
    store = world["bob"].task.store
    pack_now(store)
    name = flip(store, at)
    due = db_to_scrub(store, LATER + 1)
    assert due is not None
    scrubbed = scrub(store, *due)
    assert not scrubbed.is_good and not scrubbed.damaged
    db_retire_damaged(store, scrubbed, rescue(store, scrubbed), LATER)
    assert list(shelf(store).files) == [name]
    demand_whole(store)
    assert scrub(store, *due).is_good


def test_file_on_the_shelf_that_is_not_what_it_should_be_is_written_anew(tmp_path: FilePath) -> None:
    real = HomeShelf(str(tmp_path), "f")
    name = "ab" * 32
    for found in (None, b"whole", b"whale", b"", b"whole and more"):
        if found is not None:
            (tmp_path / "blocks" / "f" / name).write_bytes(found)
        real.put(name, b"whole")
        assert (tmp_path / "blocks" / "f" / name).read_bytes() == b"whole"
    assert real.list() == [(name, 5)]


async def test_pack_of_which_less_is_whole_than_a_moment_ago_stays(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go with what is whole in it, which is in no other pack yet."""
    store = world["bob"].task.store
    pack_now(store)
    flip(store, -1)
    due = db_to_scrub(store, LATER + 1)
    assert due is not None
    scrubbed = scrub(store, *due)
    flip(store, 70)
    with pytest.raises(TreeError):
        rescue(store, scrubbed)


async def test_pack_that_cannot_be_read_keeps_no_other_from_being_written_anew(
    world: World, autojump_clock: MockClock
) -> None:
    bob = world["bob"]
    store = bob.task.store
    uses: list[PackUse] = []
    for content in (b"first", b"second"):
        pack_now(store, LATER + 10 * PACK_AFTER_S * len(uses))
        query = "SELECT p.name, p.size, b.off, b.entry FROM block b JOIN pack p ON b.src=p.id*4+3 ORDER BY p.id DESC"
        name, size, offset, entry = store.connection.execute(query).fetchone()
        uses.append(PackUse(name, size, ((offset, entry),), size))
        world.mend()
        world["ann"].disk.write((b"plan",), content + b", anew")
        await world.settle()
    assert uses[0].name != uses[1].name
    with refusing(bob, IoFailed("bad sector"), ("shelf.read", (uses[0].name.encode(),))):
        rewritten = rewrite(store, uses)
    assert rewritten.old == (uses[1],)
    assert [pack.blocks[0][1] for pack in rewritten.new] == [uses[1].marked[0][1]]


@pytest.mark.parametrize("rotten", [False, True])
async def test_block_of_two_packs_goes_from_one_only_if_it_is_whole_in_the_other(
    world: World, autojump_clock: MockClock, rotten: bool
) -> None:
    store = world["bob"].task.store
    cipher, builder = store.keyring.cipher(), PackBuilder(store.keyring.folder, BlockKind.DATA)
    both = cipher.seal(BlockKind.DATA, b"in both")
    both = both._replace(ciphertext=memoryview(bytes(both.ciphertext)))
    other = cipher.seal(BlockKind.DATA, b"what nobody wants")
    other = other._replace(ciphertext=memoryview(bytes(other.ciphertext)))
    for blocks in ((both,), (both, other)):
        for sealed in blocks:
            builder.add(
                pack_entry(sealed.pid, sealed.cid, len(sealed.ciphertext) - 16, cipher.epoch), sealed.ciphertext
            )
        pack = builder.finish(cipher)
        store.packs.shelf.put(pack.name, pack.content)
        store.packs.db_take_in([pack], LATER)
    if rotten:
        name, at = store.connection.execute(
            "SELECT p.name, b.off FROM block b JOIN pack p ON b.src=p.id*4+3 ORDER BY p.id LIMIT 1"
        ).fetchone()
        damaged = bytearray(shelf(store).files[name])
        damaged[at] ^= 1
        shelf(store).files[name] = bytes(damaged)
    promise, came = db_promise(store, DEFAULT, LATER, UTC), db_arrivals(store, LATER)
    marking = Marking(store, promise, came, db_terms(store))
    while marking.db_step():
        pass
    marking.kept = {both.pid}
    assert db_exchange(store, marking, rewrite(store, db_collection(store, marking).packs), LATER)
    lying = [content.count(bytes(both.ciphertext)) for content in shelf(store).files.values()]
    assert sum(lying) == 1
    assert not any(bytes(other.ciphertext) in content for content in shelf(store).files.values())
