"""Where blocks lie: rows of blocks, and what is read of them."""

from __future__ import annotations

import sqlite3

import pytest

from ca.ids import EpochId
from syncd.model.ids import Cid, Pid
from syncd.model.lists import pack_entry
from syncd.store import blocks
from syncd.store.blocks import MAX_PLACES, SourceKind, source_of
from syncd.store.db import open_database
from syncd.store.forms import FOLDER

PID, OTHER = Pid(bytes(31) + b"1"), Pid(bytes(31) + b"2")
CID = Cid(b"c" * 32)
VERSIONS = 50


def database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    return open_database(lambda: connection, lambda: "", FOLDER).connection


@pytest.mark.parametrize("by", ["pid", "cid"])
def test_block_of_every_old_version_has_few_places_of_each_kind(by: str) -> None:
    connection = database()
    packed = pack_entry(PID, CID, 4096, EpochId(b"e" * 32))
    old = [(source_of(SourceKind.OLD, number), packed) for number in range(VERSIONS)]
    blocks.add(connection, [*old, (source_of(SourceKind.PACK, 1), packed), (source_of(SourceKind.NODE, 1), packed)])
    places = blocks.by_pid(connection, [PID])[PID] if by == "pid" else blocks.by_cid(connection, [CID])[CID]
    kinds = [blocks.source_row(one.source)[0] for one in places]
    assert kinds.count(SourceKind.OLD) == MAX_PLACES
    assert kinds.count(SourceKind.PACK) == 1 and kinds.count(SourceKind.NODE) == 1
    connection.close()


def test_name_with_the_same_beginning_is_another() -> None:
    connection = database()
    blocks.add(connection, [(source_of(SourceKind.OLD, 1), pack_entry(OTHER, CID, 4096, EpochId(b"e" * 32)))])
    assert blocks.by_pid(connection, [PID]) == {}
    assert list(blocks.by_pid(connection, [PID, OTHER])) == [OTHER]
    connection.close()
