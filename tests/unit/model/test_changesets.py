from __future__ import annotations

import zlib
from dataclasses import replace

import pytest

from ca import codec
from ca.errors import CodecError, RemoteProtocolError
from ca.ids import DeviceId, EntryHash, FolderId
from syncd.model.changesets import (
    ITSELF,
    MAX_APPROVES,
    MAX_PLAIN_BYTES,
    Changeset,
    HeadRef,
    decode_untrusted,
    encode,
    next_lamport,
    open_changeset_untrusted,
    seal_changeset,
    versions,
)
from syncd.model.cipher import BlockKind
from syncd.model.ids import NO_CHANGESET, ChangesetHash, Incarnation, changeset_hash, version_id
from syncd.model.records import DELETED, Place, Record, symlink_to
from tests.helpers.model_values import cipher, file_with, id32, node_id

FIRST = Changeset(
    folder=FolderId(id32(1)),
    device=DeviceId(id32(2)),
    incarnation=Incarnation(b"i" * 16),
    counter=1,
    previous=NO_CHANGESET,
    heads=(),
    lamport=1,
    roster_head=EntryHash(id32(3)),
    time_ms=1_700_000_000_000,
    author_name="anna",
    records=(Record(node_id(9), file_with(1), place=Place(node_id(0), b"a.txt")), Record(node_id(8), DELETED)),
)


def head_ref(number: int) -> HeadRef:
    return HeadRef(DeviceId(id32(number)), Incarnation(b"j" * 16), 5, ChangesetHash(id32(number)))


def test_what_is_encoded_decodes() -> None:
    later = replace(FIRST, counter=2, previous=ChangesetHash(id32(4)), heads=(head_ref(5), head_ref(6)))
    assert decode_untrusted(encode(FIRST)) == FIRST
    assert decode_untrusted(encode(later)) == later


def test_approvals_survive_and_only_they_make_the_second_format() -> None:
    approving = replace(FIRST, records=(), approves=(ITSELF, ChangesetHash(id32(4))))
    encoded = encode(approving)
    assert decode_untrusted(encoded) == approving
    assert (encode(FIRST)[1], encoded[1]) == (1, 2)
    with pytest.raises(RemoteProtocolError):
        decode_untrusted(encoded[:1] + b"\1" + encoded[2:])
    fields = codec.decode_untrusted(encoded, max_bytes=1 << 20)
    assert isinstance(fields, list)
    with pytest.raises(RemoteProtocolError):
        decode_untrusted(codec.encode([*fields[:-1], []]))  # nothing approved is said in the first format only


@pytest.mark.parametrize(
    "wrong",
    [
        replace(FIRST, counter=0),
        replace(FIRST, counter=2),
        replace(FIRST, counter=1, previous=ChangesetHash(id32(4))),
        replace(FIRST, counter=1 << 63),
        replace(FIRST, lamport=0),
        replace(FIRST, time_ms=-1),
        replace(FIRST, time_ms=1 << 53),
        replace(FIRST, author_name="x" * 256),
        replace(FIRST, incarnation=Incarnation(b"short")),
        replace(FIRST, folder=FolderId(b"")),
        replace(FIRST, heads=(head_ref(6), head_ref(5))),
        replace(FIRST, heads=(head_ref(5), head_ref(5))),
        replace(FIRST, approves=(ChangesetHash(id32(5)), ChangesetHash(id32(4)))),
        replace(FIRST, approves=(ITSELF, ITSELF)),
        replace(FIRST, approves=(ChangesetHash(b"short"),)),
        replace(FIRST, approves=tuple(ChangesetHash(at.to_bytes(32, "big")) for at in range(MAX_APPROVES + 1))),
    ],
)
def test_a_changeset_that_breaks_a_rule_is_refused(wrong: Changeset) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_untrusted(encode(wrong))


def test_a_changeset_is_refused_wherever_it_is_cut_short() -> None:
    encoded = encode(FIRST)
    for size in range(len(encoded)):
        with pytest.raises(CodecError):
            decode_untrusted(encoded[:size])
    with pytest.raises(CodecError):
        decode_untrusted(encoded + b"\0")


def test_another_format_is_refused() -> None:
    encoded = encode(FIRST)
    assert encoded[1] == 1
    with pytest.raises(RemoteProtocolError):
        decode_untrusted(encoded[:1] + b"\2" + encoded[2:])


def test_too_many_records_are_our_bug() -> None:
    with pytest.raises(ValueError, match="too large"):
        encode(replace(FIRST, records=tuple(Record(node_id(at), DELETED) for at in range(1, 4098))))


def test_too_many_bytes_are_our_bug() -> None:
    with pytest.raises(ValueError, match="too large"):
        encode(replace(FIRST, records=tuple(Record(node_id(at), symlink_to(b"x" * 4000)) for at in range(1, 1100))))


def test_two_records_of_one_node_are_our_bug() -> None:
    """Others refuse such a changeset, and everything behind it in the journal."""
    with pytest.raises(RemoteProtocolError, match="speaks twice about one node"):
        decode_untrusted(encode(FIRST).replace(node_id(8), node_id(9)))
    with pytest.raises(ValueError, match="speaks twice about one node"):
        encode(replace(FIRST, records=(Record(node_id(1), DELETED), Record(node_id(1), symlink_to(b"x")))))


def test_lamport_numbers_exceed_all_that_was_seen() -> None:
    assert next_lamport([]) == 1
    assert next_lamport([4, 9, 2]) == 10


def test_versions_are_named_by_changeset_and_index() -> None:
    name = changeset_hash(encode(FIRST))
    assert versions(name, 2) == [version_id(name, 0), version_id(name, 1)]


def test_a_sealed_changeset_opens() -> None:
    sealed = seal_changeset(cipher(), FIRST)
    assert open_changeset_untrusted(cipher(), sealed.block.pid, sealed.length, sealed.block.ciphertext) == (
        sealed.hash,
        FIRST,
    )
    assert sealed.hash == changeset_hash(encode(FIRST))


@pytest.mark.parametrize(
    "body",
    [
        b"not compressed",
        zlib.compress(encode(FIRST))[:-1],
        zlib.compress(encode(FIRST)) + b"tail",
        zlib.compress(encode(FIRST)) + zlib.compress(b"second stream"),
        zlib.compress(bytes(MAX_PLAIN_BYTES + 1)),
        zlib.compress(b"no changeset"),
        zlib.compress(b""),
    ],
    ids=["plain", "short", "tail", "two", "bomb", "garbage", "empty"],
)
def test_a_body_that_is_no_changeset_is_refused(body: bytes) -> None:
    one = cipher()
    sealed = one.seal(BlockKind.CHANGESET, body)
    with pytest.raises(RemoteProtocolError):
        open_changeset_untrusted(cipher(), sealed.pid, len(body), sealed.ciphertext)


def test_a_bomb_is_not_inflated() -> None:
    bomb = zlib.compress(bytes(64 * 1024 * 1024), 1)
    sealed = cipher().seal(BlockKind.CHANGESET, bomb)
    with pytest.raises(RemoteProtocolError, match="too large"):
        open_changeset_untrusted(cipher(), sealed.pid, len(bomb), sealed.ciphertext)
