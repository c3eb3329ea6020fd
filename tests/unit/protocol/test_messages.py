"""Pure. Bodies of requests and answers: they survive the way, and every field has its limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ca.codec import decode_untrusted, encode
from ca.device import SEAL_PUBLIC_BYTES, PublicDevice
from ca.ids import DeviceId, EntryHash
from ca.wraps import WrapProof
from syncd.errors import CodecError
from syncd.model.ids import Cid
from syncd.protocol.messages import (
    MAX_ADDRESSES,
    MAX_BODIES_BYTES,
    MAX_BODY_BYTES,
    MAX_CIDS_IN_BLOCKS,
    MAX_CIDS_IN_HAVE,
    MAX_HEADS_IN_PAGE,
    MAX_HEADS_PAGE_BYTES,
    MAX_TOLD,
    MAX_WRAPS,
    Bitmap,
    BlocksRequest,
    HaveRequest,
    HeadsPage,
    Hello,
    RosterPage,
    RosterSubmit,
)
from syncd.protocol.requests import Route

HELLO = Hello(
    PublicDevice(b"s" * 32, b"e" * SEAL_PUBLIC_BYTES, b"t" * 32),
    proof=b"p" * 64,
    roster_head=EntryHash(b"r" * 32),
    roster_number=7,
    log_id=b"l" * 16,
    digest=b"d" * 32,
    newest=b"head",
    addresses=("192.0.2.1:22067", "[2001:db8::1]:22067"),
    swap=True,
)
HEADS = HeadsPage(b"l" * 16, 5, 9, (b"one", b"two"), EntryHash(b"r" * 32))
PAGE = RosterPage((b"e" * 100,), 3, b"w" * 1200, WrapProof(0, 2, (b"s" * 32,)), ((DeviceId(b"a" * 32), b"w"),))
CIDS = tuple(Cid(bytes([number]) * 32) for number in range(3))

MESSAGES: list[tuple[Any, Callable[[bytes], Any]]] = [
    (HELLO, Hello.decode_untrusted),
    (replace(HELLO, newest=None, addresses=(), swap=False), Hello.decode_untrusted),
    (HEADS, HeadsPage.decode_untrusted),
    (HaveRequest(CIDS, hold=True), HaveRequest.decode_untrusted),
    (HaveRequest(()), HaveRequest.decode_untrusted),
    (BlocksRequest(CIDS), BlocksRequest.decode_untrusted),
    (PAGE, RosterPage.decode_untrusted),
    (RosterPage((), 0), RosterPage.decode_untrusted),
    (RosterSubmit(b"e" * 100, ((DeviceId(b"a" * 32), b"w"),)), RosterSubmit.decode_untrusted),
    (Bitmap.of([True, False, True]), lambda data: Bitmap.decode_untrusted(data, 3)),
    (Bitmap.of([]), lambda data: Bitmap.decode_untrusted(data, 0)),
]
each_message = pytest.mark.parametrize(("message", "decode"), MESSAGES, ids=lambda value: type(value).__name__)


@each_message
def test_message_survives_the_way(message: Any, decode: Callable[[bytes], Any]) -> None:
    assert decode(message.encode()) == message


@each_message
def test_message_cut_short_or_with_a_tail_is_refused(message: Any, decode: Callable[[bytes], Any]) -> None:
    data = message.encode()
    for broken in [data[:end] for end in range(0, len(data), max(1, len(data) // 50))] + [data + b"\x00", data * 2]:
        with pytest.raises(CodecError):
            decode(broken)


@each_message
def test_message_with_a_missing_or_unknown_field_is_refused(message: Any, decode: Callable[[bytes], Any]) -> None:
    fields = decode_untrusted(message.encode(), max_bytes=1 << 20)
    assert isinstance(fields, dict)
    for broken in [*({k: v for k, v in fields.items() if k != key} for key in fields), fields | {99: None}]:
        with pytest.raises(CodecError):
            decode(encode(broken))


@each_message
def test_message_with_a_field_of_another_type_is_refused(message: Any, decode: Callable[[bytes], Any]) -> None:
    fields = decode_untrusted(message.encode(), max_bytes=1 << 20)
    assert isinstance(fields, dict)
    for key, value in fields.items():
        wrongs: list[Any] = [-1, 1 << 63, b"\x01" * 7, "text", [[[]]], {1: 2}]
        for wrong in wrongs:
            if value is not None and type(wrong) is not type(value):
                with pytest.raises(CodecError):
                    decode(encode(fields | {key: wrong}))


@pytest.mark.parametrize(
    "message",
    [
        replace(HELLO, addresses=("a:1",) * (MAX_ADDRESSES + 1)),
        replace(HELLO, addresses=("x" * 264,)),
        replace(HELLO, addresses=("a\nb:22067",)),
        replace(HELLO, addresses=("\x1b[2J:1",)),
        replace(HELLO, addresses=("no port",)),
        replace(HELLO, newest=b"x" * 513),
        replace(HELLO, newest=b""),
        replace(HELLO, proof=b"p" * 63),
    ],
)
def test_hello_over_a_limit_is_refused(message: Hello) -> None:
    with pytest.raises(CodecError):
        Hello.decode_untrusted(message.encode())


def test_other_messages_over_a_limit_are_refused() -> None:
    with pytest.raises(CodecError):
        HaveRequest.decode_untrusted(HaveRequest(CIDS[:1] * (MAX_CIDS_IN_HAVE + 1)).encode())
    with pytest.raises(CodecError):
        BlocksRequest.decode_untrusted(BlocksRequest(CIDS[:1] * (MAX_CIDS_IN_BLOCKS + 1)).encode())
    with pytest.raises(CodecError):
        BlocksRequest.decode_untrusted(BlocksRequest(()).encode())
    with pytest.raises(CodecError):
        HaveRequest.decode_untrusted(encode({1: b"x" * 33, 2: False}))
    with pytest.raises(CodecError):
        HeadsPage.decode_untrusted(replace(HEADS, last=10).encode())
    with pytest.raises(CodecError):
        HeadsPage.decode_untrusted(replace(HEADS, heads=(b"h",) * (MAX_HEADS_IN_PAGE + 1)).encode())
    full = b"b" * MAX_BODY_BYTES
    HeadsPage.decode_untrusted(replace(HEADS, bodies=(full, b"")).encode())
    with pytest.raises(CodecError):
        HeadsPage.decode_untrusted(replace(HEADS, bodies=(full + b"b", b"")).encode())
    with pytest.raises(CodecError):
        HeadsPage.decode_untrusted(replace(HEADS, bodies=(full,)).encode())
    with pytest.raises(CodecError):
        HeadsPage.decode_untrusted(replace(HEADS, heads=(b"h",) * 5, bodies=(full,) * 5).encode())
    with pytest.raises(CodecError):
        HeadsPage.decode_untrusted(replace(HEADS, told=(DeviceId(b"d" * 31),)).encode())
    with pytest.raises(CodecError):
        HeadsPage.decode_untrusted(replace(HEADS, told=(DeviceId(b"d" * 32),) * (MAX_TOLD + 1)).encode())
    with pytest.raises(CodecError):
        RosterPage.decode_untrusted(replace(PAGE, proof=None).encode())


def test_sealed_secrets_come_in_one_order() -> None:
    one, other = (DeviceId(b"a" * 32), b"w"), (DeviceId(b"b" * 32), b"w")
    RosterSubmit.decode_untrusted(RosterSubmit(b"e" * 100, (one, other)).encode())
    for pairs in [(other, one), (one, one)]:
        with pytest.raises(CodecError):
            RosterSubmit.decode_untrusted(RosterSubmit(b"e" * 100, pairs).encode())


def test_largest_messages_fit_their_limits() -> None:
    heads, bodies = (
        (b"h" * 512,) * MAX_HEADS_IN_PAGE,
        (b"b" * (MAX_BODIES_BYTES // MAX_HEADS_IN_PAGE),) * MAX_HEADS_IN_PAGE,
    )
    address, told = "a" * 255 + ":65535", (DeviceId(b"d" * 32),) * MAX_TOLD
    full = HeadsPage(b"l" * 16, 0, (1 << 63) - 1, heads, EntryHash(b"r" * 32), address, bodies, told)
    assert len(full.encode()) <= MAX_HEADS_PAGE_BYTES
    assert len(HaveRequest(CIDS[:1] * MAX_CIDS_IN_HAVE).encode()) <= Route.HAVE.max_body_bytes
    assert len(BlocksRequest(CIDS[:1] * MAX_CIDS_IN_BLOCKS).encode()) <= Route.BLOCKS.max_body_bytes
    wraps = tuple((DeviceId(number.to_bytes(32, "big")), b"w" * 2048) for number in range(MAX_WRAPS))
    assert len(RosterSubmit(b"e" * (4 << 20), wraps).encode()) <= Route.SUBMIT_ENTRY.max_body_bytes
    assert len(HELLO.encode()) <= Route.HELLO.max_body_bytes


@pytest.mark.parametrize("count", [1, 7, 8, 9, 17])
def test_bitmap_answers_each_question(count: int) -> None:
    answers = [number % 3 == 0 for number in range(count)]
    bitmap = Bitmap.decode_untrusted(Bitmap.of(answers).encode(), count)
    assert [bitmap[number] for number in range(count)] == answers


def test_bitmap_with_bits_behind_its_end_is_refused() -> None:
    with pytest.raises(CodecError):
        Bitmap.decode_untrusted(Bitmap(b"\x10").encode(), 3)
    with pytest.raises(CodecError):
        Bitmap.decode_untrusted(Bitmap(b"\x10\x00").encode(), 8)
