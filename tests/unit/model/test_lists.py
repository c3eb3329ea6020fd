from __future__ import annotations

import pytest

from ca.errors import RemoteProtocolError
from ca.ids import EpochId
from syncd.model.cipher import MAX_BLOCK_BYTES
from syncd.model.ids import Cid, Pid
from syncd.model.lists import (
    ENTRY_BYTES,
    MAX_LIST_ENTRIES,
    MIN_PART_ENTRIES,
    BlockList,
    Entry,
    join_parts_untrusted,
    pack_entry,
    parse_list_untrusted,
    split_list,
)
from tests.helpers.model_values import id32

EPOCH = EpochId(b"epochone" + bytes(24))


def packed(count: int, pid_step: int = 1) -> bytes:
    """Entries whose pids count up, so that every 256th ends a part."""
    return b"".join(pack_entry(Pid(id32(1 + at * pid_step)), Cid(id32(at)), 1 + at, EPOCH) for at in range(count))


def counts(parts: list[bytes]) -> list[int]:
    return [len(part) // ENTRY_BYTES for part in parts]


def test_an_entry_has_the_bytes_of_the_format() -> None:
    assert pack_entry(Pid(b"p" * 32), Cid(b"c" * 32), 0x01020304, EPOCH) == (
        b"p" * 32 + b"c" * 32 + b"\x01\x02\x03\x04" + b"epochone"
    )


def test_a_list_gives_its_entries() -> None:
    blocks = BlockList(packed(3))
    assert len(blocks) == 3
    assert list(blocks) == [blocks[0], blocks[1], blocks[2]]
    assert blocks[2] == Entry(Pid(id32(3)), Cid(id32(2)), 3, b"epochone")
    assert blocks.size == 6
    assert blocks.pids() == [entry.pid for entry in blocks]
    assert blocks.cids() == [entry.cid for entry in blocks]
    with pytest.raises(IndexError):
        blocks[3]


def test_a_digest_regards_content_and_not_its_epoch() -> None:
    one = BlockList(pack_entry(Pid(id32(1)), Cid(id32(2)), 3, EPOCH))
    moved = BlockList(pack_entry(Pid(id32(1)), Cid(id32(9)), 3, EpochId(bytes(32))))
    other = BlockList(pack_entry(Pid(id32(7)), Cid(id32(2)), 3, EPOCH))
    assert one.digest() == moved.digest() != other.digest()


@pytest.mark.parametrize(
    "entries",
    [
        packed(1)[:-1],
        packed(2) + b"x",
        packed(MAX_LIST_ENTRIES + 1),
        pack_entry(Pid(id32(1)), Cid(id32(1)), 0, EPOCH),
        pack_entry(Pid(id32(1)), Cid(id32(1)), MAX_BLOCK_BYTES + 1, EPOCH),
    ],
    ids=["short", "tail", "too-many", "empty-block", "huge-block"],
)
def test_what_is_no_list_is_refused(entries: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_list_untrusted(entries)


def test_a_valid_list_is_taken() -> None:
    assert parse_list_untrusted(packed(MAX_LIST_ENTRIES)).packed == packed(MAX_LIST_ENTRIES)
    assert len(parse_list_untrusted(b"")) == 0


def test_a_list_within_the_limit_stays_whole() -> None:
    assert split_list(packed(MAX_LIST_ENTRIES)) == [packed(MAX_LIST_ENTRIES)]


def test_a_longer_list_is_cut_after_pids_that_end_in_zero_bits() -> None:
    parts = split_list(packed(1100))
    assert counts(parts) == [256, 256, 256, 256, 76]
    assert all(BlockList(part).pids()[-1][-1] == 0 for part in parts[:-1])


def test_a_part_has_at_least_and_at_most_so_many_entries() -> None:
    always = split_list(packed(1100, pid_step=256).replace(id32(1), id32(256)))
    assert counts(split_list(b"".join(pack_entry(Pid(id32(256)), Cid(id32(1)), 1, EPOCH) for _ in range(1100)))) == [
        *[MIN_PART_ENTRIES] * 17,
        1100 - 17 * MIN_PART_ENTRIES,
    ]
    assert counts(always)[0] == MAX_LIST_ENTRIES


def test_an_edit_makes_one_new_part() -> None:
    old = packed(5000)
    new = old[: 2000 * ENTRY_BYTES] + pack_entry(Pid(b"\xff" * 32), Cid(id32(1)), 5, EPOCH) + old[2001 * ENTRY_BYTES :]
    assert len(set(split_list(new)) - set(split_list(old))) == 1


def test_an_insertion_makes_few_new_parts() -> None:
    old = packed(5000)
    new = pack_entry(Pid(b"\xff" * 32), Cid(id32(1)), 5, EPOCH) * 100 + old
    assert len(set(split_list(new)) - set(split_list(old))) <= 2


def test_parts_make_the_whole_again() -> None:
    whole = BlockList(packed(3000))
    assert join_parts_untrusted(split_list(whole.packed), whole.size, whole.digest()) == whole


def test_parts_that_are_not_the_list_named_are_refused() -> None:
    whole = BlockList(packed(3000))
    parts = split_list(whole.packed)
    first, second, *rest = parts
    for wrong in (
        parts[:-1],
        [second, first, *rest],
        [first + second, *rest],
        [first[:ENTRY_BYTES], first[ENTRY_BYTES:], second, *rest],
        [first[:-1], second, *rest],
        [],
    ):
        with pytest.raises(RemoteProtocolError):
            join_parts_untrusted(wrong, whole.size, whole.digest())
    with pytest.raises(RemoteProtocolError):
        join_parts_untrusted(parts, whole.size + 1, whole.digest())
    with pytest.raises(RemoteProtocolError):
        join_parts_untrusted(parts, whole.size, bytes(32))


def test_a_short_list_in_parts_is_refused() -> None:
    short = BlockList(packed(300))
    with pytest.raises(RemoteProtocolError):
        join_parts_untrusted([short.packed], short.size, short.digest())
