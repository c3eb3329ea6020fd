from __future__ import annotations

from typing import Any, cast

import pytest

from ca.codec import decode_untrusted, encode
from ca.errors import RemoteProtocolError
from ca.ids import EpochId
from syncd.model.cutter import CutClass
from syncd.model.ids import ROOT_NODE, Cid, Pid
from syncd.model.lists import pack_entry
from syncd.model.records import (
    DELETED,
    DIRECTORY,
    MAX_REPLACES,
    Attributes,
    Place,
    Record,
    encodable,
    file_of,
    file_of_parts,
    record_untrusted,
    record_value,
    symlink_to,
)
from tests.helpers.model_values import file_with, id32, node_id, version

NODE, PARENT = id32(7), id32(8)


def entry(number: int, length: int, epoch: int = 1) -> bytes:
    return pack_entry(Pid(id32(number)), Cid(id32(number + epoch)), length, EpochId(id32(epoch)))


PARTS = entry(1, 64 * 76) + entry(2, 76)


def with_content(*fields: Any) -> list[Any]:
    return [NODE, [b"", *fields], None, None]


def with_place(*fields: Any) -> list[Any]:
    return [NODE, None, [b"", *fields], None]


def with_attributes(*fields: Any) -> list[Any]:
    return [NODE, None, None, [b"", *fields]]


@pytest.mark.parametrize(
    "value",
    [
        with_content(1, 0, 0, b""),
        with_content(1, 2, 5, entry(1, 2) + entry(2, 3)),
        with_content(2, 2, 1 << 40, PARTS, id32(3)),
        with_content(3),
        with_content(4, b"../target"),
        with_content(5),
        with_place(PARENT, b"name"),
        with_place(ROOT_NODE, b"\xff"),
        with_attributes(0o644, -1, []),
        with_attributes(None, None, [b"user.a", b"", b"user.b", b"x"]),
        [NODE, [id32(1) + id32(2), 5], None, None],
    ],
)
def test_the_one_form_of_a_record_is_read_and_written(value: list[Any]) -> None:
    assert record_value(record_untrusted(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        b"abcd",
        "four",
        {0: 0, 1: 1, 2: 2, 3: 3},
        [],
        [NODE],
        [NODE, None, None, None],
        [NODE, [b"", 5], None, None, None],
        [NODE[:-1], [b"", 5], None, None],
        [7, [b"", 5], None, None],
        [ROOT_NODE, [b"", 5], None, None],
        [NODE, 5, None, None],
        [NODE, [], None, None],
        [NODE, [b""], None, None],
        [NODE, [None, 5], None, None],
        [NODE, [id32(1)[:-1], 5], None, None],
        [NODE, [id32(2) + id32(1), 5], None, None],
        [NODE, [id32(1) + id32(1), 5], None, None],
        [NODE, [b"".join(map(id32, range(MAX_REPLACES + 1))), 5], None, None],
        with_content(0),
        with_content(6),
        with_content(True),
        with_content("5"),
        with_content(5, b""),
        with_content(3, 0),
        with_content(4),
        with_content(4, b""),
        with_content(4, "text"),
        with_content(4, b"a\0b"),
        with_content(4, b"x" * 4096),
        with_content(1, 0, 0),
        with_content(1, 3, 0, b""),
        with_content(1, -1, 0, b""),
        with_content(1, True, 0, b""),
        with_content(1, 0, True, entry(1, 1)),
        with_content(1, 0, 4, entry(1, 2) + entry(2, 3)),
        with_content(1, 0, 0, entry(1, 0)),
        with_content(1, 0, 5, entry(1, 5)[:-1]),
        with_content(1, 0, -5, b""),
        with_content(1, 0, 1025, b"".join(entry(at, 1) for at in range(1025))),
        with_content(2, 0, 1 << 40, PARTS),
        with_content(2, 0, 1 << 40, PARTS, b"short"),
        with_content(2, 0, 1 << 63, PARTS, id32(3)),
        with_content(2, 0, 0, PARTS, id32(3)),
        with_content(2, 0, 1 << 40, entry(1, 76), id32(3)),
        with_content(2, 0, 1 << 40, entry(1, 76 * 64) + entry(2, 77), id32(3)),
        with_content(2, 0, 1 << 40, entry(1, 76 * 1025) + entry(2, 76), id32(3)),
        with_content(2, 0, 1 << 40, entry(1, 76 * 63) + entry(2, 76), id32(3)),
        with_place(PARENT),
        with_place(PARENT, b".."),
        with_place(PARENT, b".syncd"),
        with_place(PARENT, "text"),
        with_place(PARENT[:-1], b"name"),
        with_place(NODE, b"its-own-parent"),
        with_attributes(0o1000, None, []),
        with_attributes(-1, None, []),
        with_attributes(True, None, []),
        with_attributes(None, 1 << 63, []),
        with_attributes(None, 1.5, []),
        with_attributes(None, None, None),
        with_attributes(None, None, [b"name"]),
        with_attributes(None, None, [b"", b"x"]),
        with_attributes(None, None, [b"a\0", b"x"]),
        with_attributes(None, None, [b"b", b"x", b"a", b"y"]),
        with_attributes(None, None, [b"a", b"x", b"a", b"y"]),
        with_attributes(None, None, [b"a", "x"]),
        with_attributes(None, None, [b"a", bytes(65_536)]),
        with_attributes(None, None, [item for at in range(65) for item in (b"%03d" % at, b"")]),
    ],
)
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        record_untrusted(value)


def test_deletion_that_comes_encoded_is_the_same_bytes() -> None:
    """Of one version it does; of several, or of none, it is encoded piece by piece."""
    for replaced in ((), (version(1),), (version(1), version(2))):
        record = Record(node_id(7), DELETED, replaced)
        encoded = encode([encodable(record)])
        assert encoded == encode([record_value(record)])
        (value,) = cast(list[Any], decode_untrusted(encoded, max_bytes=1000))
        assert record_untrusted(value) == record


def test_registers_are_kept_apart() -> None:
    record = Record(
        node_id(7),
        content=symlink_to(b"x"),
        replaces_content=(version(1),),
        place=Place(node_id(8), b"n"),
        replaces_place=(version(2),),
        attributes=Attributes(mode=0o600),
        replaces_attributes=(version(3),),
    )
    assert record_untrusted(record_value(record)) == record


def test_equal_bytes_are_equal_in_every_epoch() -> None:
    one = file_of(CutClass.SMALL, 5, entry(1, 5, epoch=1))
    moved = file_of(CutClass.SMALL, 5, entry(1, 5, epoch=2))
    assert one != moved
    assert one.same_as(moved)
    assert not one.same_as(file_of(CutClass.SMALL, 5, entry(2, 5)))


def test_long_lists_are_compared_by_their_digest() -> None:
    one = file_of_parts(CutClass.LARGE, 1 << 40, PARTS, id32(1))
    assert one.same_as(file_of_parts(CutClass.LARGE, 1 << 40, entry(9, 76 * 64) + entry(8, 76), id32(1)))
    assert not one.same_as(file_of_parts(CutClass.LARGE, 1 << 40, PARTS, id32(2)))


def test_kinds_are_never_the_same() -> None:
    kinds = [DELETED, DIRECTORY, symlink_to(b"x"), file_with(1), file_of(CutClass.SMALL, 0, b"")]
    assert all(one.same_as(other) == (one is other) for one in kinds for other in kinds)
