"""A member with the right to write who means harm: what its records say, in all journals for ever, stops nobody."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from syncd.model.cipher import BlockKind
from syncd.model.cutter import CutClass
from syncd.model.heads import decode_head_untrusted
from syncd.model.ids import ROOT_NODE, Cid, NodeId, Pid
from syncd.model.lists import ENTRY_BYTES, MIN_PART_ENTRIES, pack_entry
from syncd.model.records import (
    DELETED,
    MAX_REPLACES,
    MAX_SIZE,
    Attributes,
    Place,
    Record,
    file_of,
    file_of_parts,
)
from tests.helpers.authors import Author
from tests.helpers.tasks import EPOCH, SimSite, keyring
from tests.integration.test_hostile_members import Hostile, alone, follow

NODE = NodeId(b"f" * 32)
MANY = MAX_REPLACES + 20


def of_size(number: int, size: int) -> Record:
    part = pack_entry(Pid(b"p" * 32), Cid(b"c" * 32), ENTRY_BYTES * MIN_PART_ENTRIES, EPOCH)
    content = file_of_parts(CutClass.SMALL, size, part * 2, b"d" * 32)
    place = Place(ROOT_NODE, b"h%d" % number)
    return Record(NodeId(bytes([number]) * 32), content, (), place, (), Attributes(0o600, 0), ())


async def test_sizes_that_no_number_holds_together_stop_no_folder(autojump_clock: MockClock) -> None:
    bob = Author("bob")
    async with alone() as ann:
        await follow(ann, Hostile(bob.device, bob.publish(of_size(1, MAX_SIZE), of_size(2, MAX_SIZE))))
        assert ann.task.counts.need_bytes == MAX_SIZE
        ann.disk.write((b"mine",), b"still at work")
        await trio.sleep(10)
        assert ann.task.store.journal.own_head() is not None


def demand_that_others_take_it(ann: SimSite) -> Record:
    """What ann said last about the file."""
    store = ann.task.store
    newest, body = store.connection.execute("SELECT head, body FROM changeset ORDER BY seq DESC LIMIT 1").fetchone()
    head = decode_head_untrusted(newest)
    assert head.device == store.journal.device
    [record] = store.open_changeset_untrusted(head, body).records
    assert record.node == NODE
    return record


async def with_many_versions(ann: SimSite, *, deletes: bool) -> None:
    """All of one file: of the same content, or one and that many deletions that do not know it."""
    bob = Author("bob")
    sealed = keyring().cipher().seal(BlockKind.DATA, b"x")
    cid, ciphertext = sealed.cid, bytes(sealed.ciphertext)
    content = file_of(CutClass.SMALL, 1, pack_entry(sealed.pid, cid, 1, EPOCH))
    first = Record(NODE, content, (), Place(ROOT_NODE, b"many"), (), Attributes(0o600, 0), ())
    again = Record(NODE, DELETED if deletes else content)
    link = Hostile(bob.device, bob.publish(first), *(bob.publish(again) for _ in range(MANY)))
    link.bodies[cid] = ciphertext
    await follow(ann, link)
    assert ann.disk.read((b"many",)) == b"x"


def edit(ann: SimSite) -> None:
    ann.disk.write((b"many",), b"mine")


def delete(ann: SimSite) -> None:
    ann.disk.delete((b"many",))


@pytest.mark.parametrize("deletes", [False, True])
@pytest.mark.parametrize("change", [edit, delete])
async def test_change_of_a_file_with_more_versions_than_one_record_replaces_is_taken_by_others(
    autojump_clock: MockClock, change: Callable[[SimSite], None], deletes: bool
) -> None:
    """They would take nothing of that journal any more."""
    async with alone() as ann:
        await with_many_versions(ann, deletes=deletes)
        change(ann)
        await trio.sleep(10)
        record = demand_that_others_take_it(ann)
        assert len(record.replaces_content) == MAX_REPLACES
