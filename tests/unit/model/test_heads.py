from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ca.device import DeviceKeys, generate
from ca.errors import RemoteProtocolError, TrustError
from ca.ids import DeviceId, EntryHash, EpochId, FolderId
from syncd.model.changesets import Changeset, seal_changeset
from syncd.model.heads import (
    MAX_HEAD_BYTES,
    Head,
    decode_head_untrusted,
    encode_head,
    open_announced_untrusted,
    sign_head,
    verify_head,
)
from syncd.model.ids import NO_CHANGESET, NO_CID, ChangesetHash, Cid, Incarnation, Pid
from syncd.model.records import DELETED, Record
from tests.helpers.model_values import cipher, id32, node_id


def counting() -> Callable[[int], bytes]:
    """Random bytes that a test can rely on: every draw differs."""
    draws = iter(range(1, 1000))
    return lambda size: next(draws).to_bytes(size, "big")


KEYS: DeviceKeys = generate(counting())
CHANGESET = Changeset(
    FolderId(id32(1)),
    KEYS.id,
    Incarnation(b"i" * 16),
    1,
    NO_CHANGESET,
    (),
    1,
    EntryHash(id32(3)),
    5,
    "anna",
    (Record(node_id(9), DELETED),),
)
SALT = b"s" * 16


def announce(changeset: Changeset = CHANGESET, previous_cid: Cid = NO_CID) -> tuple[Head, bytes]:
    one = cipher()
    sealed = seal_changeset(one, changeset)
    return sign_head(KEYS, one, changeset, sealed, previous_cid, SALT), bytes(sealed.block.ciphertext)


def test_a_head_travels_and_keeps_its_signature() -> None:
    head, _ = announce()
    arrived = decode_head_untrusted(encode_head(head))
    assert arrived == head
    verify_head(arrived, KEYS.public.sign)


def test_the_largest_head_fits() -> None:
    head, _ = announce(replace(CHANGESET, counter=(1 << 63) - 1, previous=ChangesetHash(id32(4))), Cid(id32(5)))
    encoded = encode_head(replace(head, length=8 * 1024 * 1024))
    assert len(encoded) <= MAX_HEAD_BYTES


def test_a_head_names_a_changeset_that_opens() -> None:
    head, ciphertext = announce()
    assert open_announced_untrusted(cipher(), head, ciphertext) == CHANGESET


@pytest.mark.parametrize(
    "change",
    [
        {"folder": FolderId(id32(9))},
        {"device": DeviceId(id32(9))},
        {"incarnation": Incarnation(b"o" * 16)},
        {"counter": 2},
        {"epoch": EpochId(id32(9))},
        {"cid": Cid(id32(9))},
        {"previous_cid": Cid(id32(9))},
        {"length": 77},
        {"salt": b"t" * 16},
        {"changeset": ChangesetHash(id32(9))},
        {"previous": ChangesetHash(id32(9))},
        {"pid": Pid(id32(9))},
        {"signature": bytes(64)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_is_under_the_signature(change: dict[str, bytes]) -> None:
    head, _ = announce()
    verify_head(head, KEYS.public.sign)
    with pytest.raises(TrustError):
        verify_head(replace(head, **change), KEYS.public.sign)  # type: ignore[arg-type]


def test_another_device_did_not_sign() -> None:
    head, _ = announce()
    draws = iter(range(500, 1000))
    with pytest.raises(TrustError):
        verify_head(head, generate(lambda size: next(draws).to_bytes(size, "big")).public.sign)


def test_parts_of_different_heads_are_refused() -> None:
    one, _ = announce()
    other = replace(one, pid=Pid(id32(9)))
    first, second = encode_head(one), encode_head(other)
    member_part = len(first) - 120
    with pytest.raises(RemoteProtocolError):
        decode_head_untrusted(first[:member_part] + second[member_part:])


def test_a_head_is_refused_wherever_it_is_cut_short() -> None:
    encoded = encode_head(announce()[0])
    for size in range(len(encoded)):
        with pytest.raises(RemoteProtocolError):
            decode_head_untrusted(encoded[:size])


@pytest.mark.parametrize(
    "change",
    [{"counter": 2}, {"previous": ChangesetHash(id32(4))}, {"previous_cid": Cid(id32(4))}],
    ids=["counter", "previous", "previous-cid"],
)
def test_a_journal_begins_at_one(change: dict[str, bytes]) -> None:
    head = replace(announce()[0], **change)  # type: ignore[arg-type]
    with pytest.raises(RemoteProtocolError, match="begin its journal"):
        decode_head_untrusted(encode_head(head))


@pytest.mark.parametrize(
    "change",
    [
        {"folder": FolderId(id32(9))},
        {"device": DeviceId(id32(9))},
        {"incarnation": Incarnation(b"o" * 16)},
        {"counter": 2, "previous": ChangesetHash(id32(9))},
        {"time_ms": 6},
    ],
    ids=["folder", "device", "incarnation", "counter", "hash"],
)
def test_a_body_that_its_head_does_not_announce_is_refused(change: dict[str, bytes]) -> None:
    head, _ = announce()
    one = cipher()
    sealed = seal_changeset(one, replace(CHANGESET, **change))  # type: ignore[arg-type]
    lying = replace(head, cid=sealed.block.cid, pid=sealed.block.pid, length=sealed.length)
    with pytest.raises(RemoteProtocolError, match="not the one"):
        open_announced_untrusted(cipher(), lying, sealed.block.ciphertext)


def test_head_with_another_public_name_for_the_body_is_refused() -> None:
    """The author lies to vaults, which know a body by this name alone."""
    head, body = announce()
    with pytest.raises(RemoteProtocolError, match="public name"):
        open_announced_untrusted(cipher(), replace(head, cid=Cid(bytes(32))), body)
    assert open_announced_untrusted(cipher(), head, body) == CHANGESET


def test_what_vaults_may_read_holds_no_name_of_a_plaintext() -> None:
    head, _ = announce()
    encoded = encode_head(head)
    open_part = encoded[: encoded.index(head.signature)]
    assert bytes(head.cid) in open_part
    assert bytes(head.pid) not in open_part
    assert bytes(head.changeset) not in open_part
