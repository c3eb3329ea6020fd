"""A long file that is as Global has it, of which the names that Global has for its blocks are not here yet."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from ca.ids import EpochId
from syncd.model.ids import Cid, NodeId, Pid
from syncd.model.lists import MAX_LIST_ENTRIES, BlockList, pack_entry, split_list
from syncd.store import blocks, rows
from syncd.store.blocks import SourceKind, source_of
from syncd.store.contents import keep_parts
from syncd.store.db import open_database
from syncd.store.forms import FOLDER
from syncd.store.rows import FILE, NodeRow
from syncd.store.unlisted import db_take_names, db_unlisted

COUNT = MAX_LIST_ENTRIES + 1
LENGTH = 4096
ROW = 7
Parts = list[tuple[bytes, bytes]]


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:", isolation_level=None)
    with closing(open_database(lambda: opened, lambda: "", FOLDER).connection) as connection:
        yield connection


def name_of(number: int, key: bytes) -> bytes:
    return key + number.to_bytes(31, "big")


def listed(key: bytes) -> tuple[bytes, Parts]:
    """Packed entries of all blocks under a key, and the parts of their list."""
    epoch = EpochId(key * 32)
    packed = b"".join(
        pack_entry(Pid(number.to_bytes(31, "big") + b"p"), Cid(name_of(number, key)), LENGTH, epoch)
        for number in range(1, COUNT + 1)
    )
    parts = []
    for number, plain in enumerate(split_list(packed)):
        pid, cid = Pid(name_of(number, b"P")), Cid(name_of(number, key.upper()))
        parts.append((pack_entry(pid, cid, len(plain), epoch), plain))
    return packed, parts


def column(packed: bytes, parts: Parts) -> bytes:
    return rows.listed_blocks(BlockList(packed).digest(), b"".join(entry for entry, _ in parts))


def stand(database: sqlite3.Connection) -> tuple[Parts, bytes, bytes]:
    """It was read here under one key, and Global has it under another: the parts of that list, and both names."""
    (own, own_parts), (packed, parts) = listed(b"a"), listed(b"b")
    size = COUNT * LENGTH
    row = NodeRow(
        ROW, NodeId(bytes(32)), c_cs=5, c_idx=0, kind=FILE, cls=0, size=size, listed=1, blocks=column(packed, parts),
        heads=1, l_parent=1, l_name=b"image.raw", l_kind=FILE, l_size=size, l_listed=1, l_cls=0,
        l_blocks=column(own, own_parts), s_ccs=5, s_cidx=0,
    )  # fmt: skip
    rows.write(database, [row])
    keep_parts(database, own_parts)
    blocks.add(database, [(source_of(SourceKind.NODE, ROW), own)])
    return parts, BlockList(own)[0].cid, BlockList(packed)[0].cid


def test_page_ends_where_enough_parts_are_lacking(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand(database)
    [row] = rows.read_ids(database, [ROW]).values()
    row.id, row.nid = ROW + 1, NodeId(b"1" * 32)
    rows.write(database, [row])
    assert [one.row for one in db_unlisted(database, 0)[0]] == [ROW, ROW + 1]
    monkeypatch.setattr("syncd.store.unlisted.PARTS_AT_ONCE", 1)
    [first], following = db_unlisted(database, 0)
    assert first.row == following == ROW
    [second], following = db_unlisted(database, ROW)
    assert second.row == ROW + 1 and following is None


def served(database: sqlite3.Connection, cid: bytes) -> bool:
    return bool(blocks.by_cid(database, [Cid(cid)]))


def test_it_is_served_by_the_names_of_all_once_its_list_has_come(database: sqlite3.Connection) -> None:
    parts, own, name = stand(database)
    [found], following = db_unlisted(database, 0)
    assert found.row == ROW and following is None
    assert {entry.cid for entry in found.lacking} == {entry[32:64] for entry, _ in parts}
    keep_parts(database, parts[1:])
    assert db_take_names(database, [ROW]) == 0 and served(database, own) and not served(database, name)
    keep_parts(database, parts)
    assert db_take_names(database, [ROW]) == 1 and served(database, name) and not served(database, own)
    assert db_unlisted(database, 0) == ([], None)


def test_list_that_is_not_that_of_its_record_gives_no_names(database: sqlite3.Connection) -> None:
    parts, own, name = stand(database)
    (entry, plain), *others = parts
    keep_parts(database, [(entry, plain[76:] + plain[:76]), *others])
    assert [one.lacking for one in db_unlisted(database, 0)[0]] == [()]
    assert db_take_names(database, [ROW]) == 0 and served(database, own) and not served(database, name)


@pytest.mark.parametrize("change", ["pending=1", "s_ccs=4", "l_kind=3"])
def test_one_that_is_not_as_global_has_it_keeps_its_own_names(database: sqlite3.Connection, change: str) -> None:
    parts, own, _ = stand(database)
    database.execute(f"UPDATE node SET {change} WHERE id=?", (ROW,))
    keep_parts(database, parts)
    assert db_unlisted(database, 0) == ([], None)
    assert db_take_names(database, [ROW]) == 0 and served(database, own)
