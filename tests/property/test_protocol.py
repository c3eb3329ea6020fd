"""Property. Whatever arrives: it parses to what was sent, or raises the one remote error, however it was cut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

from ca.device import SEAL_PUBLIC_BYTES, PublicDevice
from ca.ids import EntryHash
from syncd.errors import PeerUnavailable, RemoteProtocolError
from syncd.http import Client, Response, serve
from syncd.model.ids import Cid
from syncd.net.blocks import receive_frames
from syncd.protocol.frames import Frame, FrameReader, FrameStatus, pack_frame
from syncd.protocol.heads import Head, check_request_head_untrusted, check_response_head_untrusted
from syncd.protocol.messages import (
    Bitmap,
    BlocksRequest,
    HaveRequest,
    HeadsPage,
    Hello,
    RosterPage,
    RosterSubmit,
)
from syncd.protocol.requests import Request, Route, request_untrusted, target_of
from syncd.seams import Buffer

LABEL = "f01e01"
LIMIT = 200_000


# --- heads and requests --------------------------------------------------------------------------------------------

LINES = st.sampled_from(
    [b"GET / HTTP/1.1", b"Host: a", b"Content-Length: 3", b" folded", b"a:b", b"\x00", b"", b"HTTP/1.1 200 OK", b"\n"]
)
HEADS = st.one_of(
    st.binary(max_size=300),
    st.lists(LINES, max_size=6).map(lambda lines: b"\r\n".join(lines) + b"\r\n\r\n"),
)


@given(HEADS)
def test_any_head_parses_or_is_refused(raw: bytes) -> None:
    for check in (check_request_head_untrusted, check_response_head_untrusted):
        try:
            check(raw)
        except RemoteProtocolError:
            continue
        assert raw.endswith(b"\r\n\r\n")
        assert raw.isascii()
        assert raw.count(b"\n") == raw.count(b"\r\n")


FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"host", b"content-length", b"expect", b"syncd-log", b"syncd-wait", b"transfer-encoding"]),
        st.one_of(st.just(LABEL.encode()), st.from_regex(rb"\A[0-9a-f]{0,40}\Z"), st.binary(max_size=20)),
    ),
    max_size=5,
)
TARGETS = st.one_of(
    st.from_regex(rb"\A/v1/(heads|blocks|roster|have|hello|pair)(/[0-9a-f]{0,70})?\Z"), st.binary(max_size=80)
)


@given(st.sampled_from([b"GET", b"POST", b"PUT"]), TARGETS, FIELDS)
def test_any_request_is_one_of_ours_or_refused(method: bytes, target: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    try:
        request = request_untrusted(Head(method, target, tuple(fields)), LABEL)
    except RemoteProtocolError:
        return
    assert target_of(request.route, number=request.number, cid=request.cid).encode() == target
    assert request.content_length <= request.route.max_body_bytes


# --- frames --------------------------------------------------------------------------------------------------------

CIPHERTEXTS = st.one_of(st.binary(min_size=1, max_size=100), st.integers(1, LIMIT).map(lambda size: b"x" * size))
ANSWERS = st.lists(
    st.one_of(
        st.tuples(st.just(FrameStatus.OK), CIPHERTEXTS),
        st.tuples(st.sampled_from([FrameStatus.GONE, FrameStatus.CHANGED, FrameStatus.BUSY]), st.just(b"")),
    ),
    max_size=12,
)


@given(ANSWERS, st.data())
def test_frames_are_the_same_however_they_are_cut(
    answers: list[tuple[FrameStatus, bytes]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(answers))))
    stream = b"".join(pack_frame(index, *answers[index]) for index in order)
    reader = FrameReader([LIMIT] * len(answers))
    frames: list[Frame] = []
    while stream:
        step = data.draw(st.one_of(st.integers(1, 20), st.just(len(stream))))
        frames += reader.feed_untrusted(stream[:step])
        stream = stream[step:]
    reader.end_untrusted()
    assert [(frame.index, frame.status, bytes(frame.ciphertext)) for frame in frames] == [
        (index, *answers[index]) for index in order
    ]


@given(st.binary(max_size=400), st.integers(0, 3))
def test_any_stream_of_frames_parses_or_is_refused(stream: bytes, count: int) -> None:
    reader = FrameReader([50] * count)
    try:
        for frame in reader.feed_untrusted(stream):
            assert len(frame.ciphertext) <= 50
        reader.end_untrusted()
    except RemoteProtocolError:
        return


@given(ANSWERS, st.integers(1, 5))
def test_blocks_travel_through_http(answers: list[tuple[FrameStatus, bytes]], together: int) -> None:
    """Both sides of `POST /v1/blocks`; the serving side reuses one buffer for all batches of frames."""
    packed = [pack_frame(index, *answer) for index, answer in enumerate(answers)]
    batches = [b"".join(packed[start : start + together]) for start in range(0, len(packed), together)]
    buffer = memoryview(bytearray(max(map(len, batches), default=0)))

    async def frames() -> AsyncIterator[Buffer]:
        for batch in batches:
            buffer[: len(batch)] = batch
            yield buffer[: len(batch)]

    async def handle(_head: Head, _body: object) -> Response:
        return Response(200, frames())

    async def run() -> list[tuple[FrameStatus, bytes]]:
        ours, theirs = memory_stream_pair()
        received = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve(theirs, handle, admit=lambda head: head))
            reply = await Client(ours, host="a").request("POST", "/v1/blocks")
            reader = FrameReader([LIMIT] * len(answers))
            async with aclosing(receive_frames(reply.body, reader)) as stream:
                async for group in stream:
                    received += [(frame.status, bytes(frame.ciphertext)) for frame in group]
            nursery.cancel_scope.cancel()
        return received

    assert trio.run(run) == answers


# --- replies -------------------------------------------------------------------------------------------------------

REPLIES = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(
            (
                *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 C\r\n", b"A:b\r\n", b"\r\n", b"\n"),
                *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 4\r\n", b"4\r\n", b"0\r\n", b"abcd"),
            )
        ),
        max_size=12,
    ).map(b"".join),
)


@given(REPLIES)
def test_any_reply_parses_or_is_refused(sent: bytes) -> None:
    async def run() -> None:
        ours, theirs = memory_stream_pair()
        await theirs.send_all(sent)
        await theirs.aclose()
        try:
            reply = await Client(ours, host="a").request("GET", "/")
            await reply.body.read(100)
        except (RemoteProtocolError, PeerUnavailable):
            return
        assert sent.startswith(b"HTTP/1.1 200 OK\r\n")

    trio.run(run)


@given(HEADS)
def test_any_request_is_answered_or_refused(sent: bytes) -> None:
    async def handle(_request: Request, _body: object) -> Response:
        return Response(200)

    async def run() -> None:
        ours, theirs = memory_stream_pair()
        await ours.send_all(sent)
        await ours.send_stream.aclose()
        try:
            await serve(theirs, handle, admit=lambda head: request_untrusted(head, "a"))
        except (RemoteProtocolError, PeerUnavailable):
            return

    trio.run(run)


# --- messages ------------------------------------------------------------------------------------------------------

HASHES = st.binary(min_size=32, max_size=32)
COUNTS = st.integers(0, (1 << 32) - 1)
HELLOS = st.builds(
    Hello,
    st.builds(PublicDevice, HASHES, st.binary(min_size=SEAL_PUBLIC_BYTES, max_size=SEAL_PUBLIC_BYTES), HASHES),
    st.binary(min_size=64, max_size=64),
    HASHES.map(EntryHash),
    COUNTS,
    st.binary(min_size=16, max_size=16),
    HASHES,
    st.none() | st.binary(min_size=1, max_size=512),
    st.lists(st.from_regex(r"[!-~]{1,40}:[0-9]{1,5}", fullmatch=True), max_size=16).map(tuple),
    st.booleans(),
)
PAGES = st.builds(
    lambda log, last, more, heads, head: HeadsPage(log, last, last + more, tuple(heads), EntryHash(head)),
    st.binary(min_size=16, max_size=16),
    COUNTS,
    COUNTS,
    st.lists(st.binary(min_size=1, max_size=512), max_size=5),
    HASHES,
)
CIDS = st.lists(HASHES.map(Cid), min_size=1, max_size=20).map(tuple)


@given(st.one_of(HELLOS, PAGES, st.builds(HaveRequest, CIDS, st.booleans()), st.builds(BlocksRequest, CIDS)))
def test_messages_survive_the_way(message: Hello | HeadsPage | HaveRequest | BlocksRequest) -> None:
    assert type(message).decode_untrusted(message.encode()) == message


@given(st.lists(st.booleans(), max_size=70))
def test_bitmaps_survive_the_way(answers: list[bool]) -> None:
    bitmap = Bitmap.decode_untrusted(Bitmap.of(answers).encode(), len(answers))
    assert [bitmap[index] for index in range(len(answers))] == answers


DECODERS: list[Callable[[bytes], Any]] = [
    Hello.decode_untrusted,
    HeadsPage.decode_untrusted,
    HaveRequest.decode_untrusted,
    BlocksRequest.decode_untrusted,
    RosterPage.decode_untrusted,
    RosterSubmit.decode_untrusted,
    lambda data: Bitmap.decode_untrusted(data, 9),
]


@pytest.mark.parametrize("decode", DECODERS)
@given(garbage=st.binary(max_size=200))
def test_garbage_raises_the_remote_error_only(decode: Callable[[bytes], Any], garbage: bytes) -> None:
    try:
        message = decode(garbage)
    except RemoteProtocolError:
        return
    assert message.encode() == garbage


@given(HELLOS, st.data())
def test_changed_hello_decodes_to_another_or_is_refused(hello: Hello, data: st.DataObject) -> None:
    encoded = bytearray(hello.encode())
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        decoded = Hello.decode_untrusted(bytes(encoded))
    except RemoteProtocolError:
        return
    assert decoded != hello
    assert decoded.encode() == bytes(encoded)


def test_every_route_has_one_target() -> None:
    targets = [target_of(route, number=1, cid=Cid(bytes(32))) for route in Route]
    assert len({(route.method, target) for route, target in zip(Route, targets, strict=True)}) == len(Route)
