"""One directory at a time, a page at a time, as cheap with a million files as with ten."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

import pytest

from ca.ids import EntryHash, EpochId
from syncd.model.ids import Cid, NodeId, Pid
from syncd.model.lists import pack_entry
from syncd.store import rows
from syncd.store.forms import FOLDER
from syncd.store.listing import BLOCKS_PER_FILE, db_list
from syncd.store.migrating import begin
from syncd.store.rows import DIR, FILE, ROOT_ROW, NodeRow

EPOCH = EpochId(EntryHash(bytes(32)))


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:")
    begin(opened, FOLDER.steps(), FOLDER.newest)
    yield opened
    opened.close()


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32, "big"))


def packed(blocks: int) -> bytes:
    cids = (Cid(number.to_bytes(32, "big")) for number in range(blocks))
    return b"".join(pack_entry(Pid(bytes(32)), cid, 100, EPOCH) for cid in cids)


def here(number: int, parent: int, name: bytes, kind: int = FILE, blocks: int = 1) -> NodeRow:
    content = packed(blocks) if kind == FILE else None
    return NodeRow(
        number, node(number), parent=parent, name=name, kind=kind, size=100 * blocks, listed=0, blocks=content,
        l_parent=parent, l_name=name, l_kind=kind, l_size=100 * blocks,
    )  # fmt: skip


def coming(number: int, parent: int, name: bytes) -> NodeRow:
    return NodeRow(number, node(number), parent=parent, name=name, kind=FILE, size=7, listed=0, pending=1)


def write(connection: sqlite3.Connection, found: Iterable[NodeRow]) -> None:
    rows.write(connection, found)


def test_directory_shows_what_stands_there_and_what_is_coming(connection: sqlite3.Connection) -> None:
    deleted = NodeRow(9, node(9), parent=ROOT_ROW, name=b"gone", kind=rows.DELETED)
    write(connection, [here(5, ROOT_ROW, b"b"), coming(6, ROOT_ROW, b"a"), here(7, ROOT_ROW, b"room", DIR), deleted])
    write(connection, [here(8, 7, b"inside")])
    found = db_list(connection, (), b"")
    assert found is not None
    assert [(one.name, one.is_here) for one in found] == [(b"a", False), (b"b", True), (b"room", True)]
    inner = db_list(connection, (b"room",), b"")
    assert inner is not None and [one.name for one in inner] == [b"inside"]


def test_what_is_no_directory_has_no_list(connection: sqlite3.Connection) -> None:
    write(connection, [here(5, ROOT_ROW, b"b")])
    assert db_list(connection, (b"b",), b"") is None
    assert db_list(connection, (b"nowhere",), b"") is None


def test_pages_follow_one_another_without_gap_or_repeat(connection: sqlite3.Connection) -> None:
    names = [f"{number:03}".encode() for number in range(25)]
    write(connection, [here(10 + at, ROOT_ROW, name) for at, name in enumerate(names)])
    seen: list[bytes] = []
    while page := db_list(connection, (), seen[-1] if seen else b"", most=10):
        seen += [one.name for one in page]
    assert seen == names


def test_long_file_is_judged_by_some_of_its_blocks(connection: sqlite3.Connection) -> None:
    write(connection, [here(5, ROOT_ROW, b"long", blocks=1000)])
    (found,) = db_list(connection, (), b"") or []
    assert len(found.blocks) == BLOCKS_PER_FILE
    assert len(set(found.blocks)) == BLOCKS_PER_FILE


def test_page_of_a_large_directory_reads_a_page_and_no_more(connection: sqlite3.Connection) -> None:
    write(connection, (here(10 + at, ROOT_ROW, f"{at:06}".encode()) for at in range(50_000)))
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(count, 100)
    assert len(db_list(connection, (), b"025000") or []) == 100
    assert steps * 100 < 50_000
