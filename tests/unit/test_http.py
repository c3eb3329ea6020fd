"""Async. The HTTP runner in memory: what it answers, what it refuses, and how long it is patient."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from syncd.errors import LocalProtocolError, PeerUnavailable, RemoteProtocolError
from syncd.http import DEFAULT_LIMITS, Body, Client, Limits, Pieces, Response, serve
from syncd.protocol.heads import Head, RequestRefused, body_length_untrusted
from tests.helpers.pipes import tls_pair
from tests.helpers.simnet import WINDOW_BYTES, SimInternet

MAX_BODY = 1000
BIG = bytes(range(256)) * 3000


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    target: str


def admit(head: Head) -> Asked:
    if (body_length_untrusted(head.fields) or 0) > MAX_BODY:
        raise RequestRefused(413, "body too large")
    if head.target == b"/forbidden":
        raise RequestRefused(403, "forbidden")
    return Asked(head.method.decode(), head.target.decode())


Handler = Callable[[Asked, Body], Awaitable[Response]]


async def answer(asked: Asked, body: Body) -> Response:
    match asked.target:
        case "/echo":
            return Response(200, await body.read(MAX_BODY))
        case "/ignore":
            return Response(200, b"fine")
        case "/chunks":
            return Response(200, chunks())
        case "/sized":
            return Response(200, chunks(), length=len(BIG))
        case "/close":
            return Response(200, b"bye", close=True)
        case "/swap":
            return Response(200, b"your turn", swap=True)
        case "/bug":
            raise ZeroDivisionError("a bug in the handler")
        case "/malformed":
            raise RemoteProtocolError("the body says nothing")
        case _:
            return Response(404)


async def chunks() -> AsyncIterator[Pieces]:
    yield (b"", BIG[:10], memoryview(BIG)[10:100_000])
    yield bytearray(BIG[100_000:100_001])
    yield b""
    yield BIG[100_001:]


class Server:
    """A served stream and how serving ended."""

    def __init__(self) -> None:
        self.outcome: bool | BaseException | None = None

    async def run(self, stream: trio.abc.Stream, handle: Handler, limits: Limits) -> None:
        try:
            self.outcome = await serve(stream, handle, admit=admit, limits=limits)
        except (RemoteProtocolError, PeerUnavailable, ZeroDivisionError, LocalProtocolError) as error:
            self.outcome = error
        await stream.aclose()


async def raw_exchange(sent: bytes, handle: Handler = answer, limits: Limits = DEFAULT_LIMITS) -> tuple[bytes, Server]:
    """Everything the server answers to `sent` until it closes or has nothing more to say."""
    ours, theirs = memory_stream_pair()
    server = Server()
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, theirs, handle, limits)
        await ours.send_all(sent)
        await ours.send_stream.aclose()
        async for part in ours:
            received += part
    return received, server


def request(target: str, *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: a", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def statuses(answered: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d{3}) ", answered)]


# --- the serving side ----------------------------------------------------------------------------------------------


async def test_requests_are_answered_in_order() -> None:
    sent = request("/echo", method="POST", body=b"one") + request("/none") + request("/echo", method="POST", body=b"2")
    answered, server = await raw_exchange(sent)
    assert statuses(answered) == [200, 404, 200]
    assert answered.endswith(b"content-length: 1\r\n\r\n2")
    assert server.outcome is False


async def test_request_byte_by_byte() -> None:
    ours, theirs = memory_stream_pair()
    server = Server()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, theirs, answer, Limits())
        for octet in request("/echo", method="POST", body=b"abc"):
            await ours.send_all(bytes([octet]))
        await ours.send_stream.aclose()
        received = b""
        async for part in ours:
            received += part
    assert received.endswith(b"abc")


async def test_small_unread_body_is_read_away() -> None:
    answered, _ = await raw_exchange(request("/ignore", method="POST", body=b"x" * 900) + request("/none"))
    assert statuses(answered) == [200, 404]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("/echo", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n0\r\n\r\n", 501),
        (request("/echo", "Transfer-Encoding: gzip", method="POST"), 501),
        (request("/echo", "Content-Length: 3", "Transfer-Encoding: chunked", method="POST") + b"abc", 400),
        (request("/echo", "Content-Length: +3", method="POST") + b"abc", 400),
        (request("/echo", method="POST", body=b"x" * (MAX_BODY + 1)), 413),
        (request("/forbidden"), 403),
        (b"GET / HTTP/1.0\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no host: h11 refuses
        (b"\x16\x03\x01 not HTTP\r\n\r\n", 400),
        (b"x" * 20_000, 431),
        (request("/malformed"), 400),
    ],
)
async def test_refused_request_gets_a_status_and_ends_the_connection(
    sent: bytes, status: int, autojump_clock: MockClock
) -> None:
    answered, server = await raw_exchange(sent + request("/none"))
    assert statuses(answered) == [status]
    assert answered.endswith(b"content-length: 0\r\nconnection: close\r\n\r\n") or b"onnection: close" in answered
    assert isinstance(server.outcome, RemoteProtocolError)


async def test_error_answers_say_nothing(autojump_clock: MockClock) -> None:
    answered, _ = await raw_exchange(request("/forbidden", "Cookie: secret-words"))
    head, _, body = answered.partition(b"\r\n\r\n")
    assert body == b""
    assert b"secret" not in head
    assert b"forbidden" not in head
    assert sorted(line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:]) == [b"connection", b"content-length"]


async def test_bug_in_a_handler_is_told_as_500_and_raised(autojump_clock: MockClock) -> None:
    answered, server = await raw_exchange(request("/bug") + request("/none"))
    assert statuses(answered) == [500]
    assert isinstance(server.outcome, ZeroDivisionError)


@pytest.mark.parametrize("sent", [request("/close"), request("/none", "Connection: close")])
async def test_close_is_kept(sent: bytes) -> None:
    answered, server = await raw_exchange(sent + request("/none"))
    assert len(statuses(answered)) == 1
    assert b"connection: close" in answered.lower()
    assert server.outcome is False


async def test_worn_connection_is_closed_between_requests() -> None:
    ours, theirs = memory_stream_pair()
    await ours.send_all(request("/none") * 2)
    assert await serve(theirs, answer, admit=admit, should_close=lambda: True) is False
    assert statuses(bytes(await ours.receive_some())) == [404]


async def test_requests_on_a_connection_are_counted() -> None:
    answered, _ = await raw_exchange(request("/none") * 5, limits=Limits(requests=3))
    assert len(statuses(answered)) == 3


@pytest.mark.parametrize(
    "sent",
    [
        request("/none")[:10],
        request("/none")[:-1],
        request("/echo", method="POST", body=b"abc")[:-1],
    ],
)
async def test_peer_that_leaves_in_the_middle_is_unavailable(sent: bytes, autojump_clock: MockClock) -> None:
    _, server = await raw_exchange(sent)
    assert isinstance(server.outcome, PeerUnavailable)


# --- patience ------------------------------------------------------------------------------------------------------

QUICK = Limits(first_s=5, idle_s=5, head_s=2, answer_s=3, stall_s=4, stall_bytes=100)


async def serve_dripping(first: bytes, step_s: float, drip: bytes) -> tuple[float, Server]:
    """Serve a peer that sends `first` and then one byte each `step_s`; how long that was borne."""
    ours, theirs = memory_stream_pair()
    server = Server()
    began = trio.current_time()

    async def drip_on() -> None:
        await ours.send_all(first)
        with suppress(trio.BrokenResourceError):  # cut in the middle of a drop
            for octet in drip:
                await trio.sleep(step_s)
                await ours.send_all(bytes([octet]))
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip_on)
        await server.run(theirs, answer, QUICK)
        nursery.cancel_scope.cancel()
    return trio.current_time() - began, server


async def test_silence_between_requests_ends_quietly(autojump_clock: MockClock) -> None:
    seconds, server = await serve_dripping(b"", 1, b"")
    assert (seconds, server.outcome) == (5, False)


async def test_slow_head_is_cut(autojump_clock: MockClock) -> None:
    seconds, server = await serve_dripping(b"G", 0.5, request("/none")[1:])
    assert seconds <= 2 + 1
    assert isinstance(server.outcome, PeerUnavailable)


async def test_slow_body_is_cut(autojump_clock: MockClock) -> None:
    head = request("/echo", "Content-Length: 500", method="POST")
    seconds, server = await serve_dripping(head, 1, b"x" * 500)
    assert seconds <= 4 + 1
    assert isinstance(server.outcome, PeerUnavailable)


async def test_slow_but_moving_body_is_read(autojump_clock: MockClock) -> None:
    head = request("/echo", "Content-Length: 500", method="POST")
    seconds, server = await serve_dripping(head, 0.03, b"x" * 500)
    assert seconds >= 500 * 0.03
    assert server.outcome is False


async def test_slow_reader_is_cut_and_memory_is_bounded(autojump_clock: MockClock) -> None:
    produced = 0

    async def endless() -> AsyncIterator[Pieces]:
        nonlocal produced
        while True:
            produced += 1000
            yield bytes(1000)

    async def handle(_asked: Asked, _body: Body) -> Response:
        return Response(200, endless())

    internet = SimInternet(seed=1)
    (listener,) = await internet.network("b").listen(":0")
    ours = await internet.network("a").connect(listener.address)
    theirs, _ = await listener.accept()
    await ours.send_all(request("/endless"))
    with pytest.raises(PeerUnavailable, match="slow"):
        await serve(theirs, handle, admit=admit, limits=QUICK)
    assert produced <= WINDOW_BYTES + 70_000


# --- the asking side -----------------------------------------------------------------------------------------------


async def replies(sent: bytes, *, close: bool = True) -> tuple[Client, trio.abc.Stream]:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(sent)
    if close:
        await theirs.send_stream.aclose()
    return Client(ours, host="a", limits=QUICK), theirs


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ],
)
async def test_reply_is_read(body: bytes) -> None:
    client, _ = await replies(b"HTTP/1.1 200 \r\n" + body)
    reply = await client.request("GET", "/")
    assert (reply.status, await reply.body.read(100)) == (200, b"hello")
    assert reply.body.is_finished


CHUNKED = b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Encoding: gzip\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + b"x" * 200,
        CHUNKED + b"5;ext=1\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"05\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n",
        CHUNKED + b"5\nhello\r\n0\r\n\r\n" + b"x" * 20,
        CHUNKED + b"5\r\nhelloX\r\n0\r\n\r\n",
        CHUNKED + b"5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
        CHUNKED + b"ffffffffffffffffff\r\n",
        CHUNKED + b"-5\r\nhello\r\n",
        CHUNKED + b"\r\nhello",
    ],
)
async def test_malformed_reply_is_refused(sent: bytes) -> None:
    client, _ = await replies(sent)
    with pytest.raises(RemoteProtocolError):
        await (await client.request("GET", "/")).body.read(100)


async def test_body_that_is_announced_too_long_is_refused_before_its_first_byte() -> None:
    client, _ = await replies(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n")
    with pytest.raises(RemoteProtocolError, match="limit of 100"):
        await (await client.request("GET", "/")).body.read(100)


async def test_body_in_chunks_is_refused_where_it_becomes_too_long() -> None:
    client, theirs = await replies(CHUNKED + b"32\r\n" + b"x" * 50 + b"\r\n33\r\n" + b"x" * 51, close=False)
    body = (await client.request("GET", "/")).body
    with pytest.raises(RemoteProtocolError, match="limit of 100"):
        await body.read(100)
    client, _ = await replies(CHUNKED + b"32\r\n" + b"x" * 50 + b"\r\n32\r\n" + b"x" * 50 + b"\r\n0\r\n\r\n")
    assert await (await client.request("GET", "/")).body.read(100) == b"x" * 100
    await theirs.aclose()


async def test_size_of_a_chunk_that_does_not_end_is_not_waited_for() -> None:
    """Else a peer fills our memory with digits."""
    client, theirs = await replies(CHUNKED + b"0" * 40, close=False)
    with pytest.raises(RemoteProtocolError, match="without an end"):
        await (await client.request("GET", "/")).body.read(100)
    await theirs.aclose()


@pytest.mark.parametrize("status", [b"100 Continue", b"103 Early Hints", b"199 Wait"])
async def test_answer_that_is_not_final_is_none(status: bytes) -> None:
    client, _ = await replies(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(RemoteProtocolError, match="not a final answer"):
        await client.request("GET", "/")
    assert not client.is_usable


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nConte",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        CHUNKED + b"5\r\nhell",
        CHUNKED + b"5\r\nhello\r\n",
        CHUNKED + b"5\r\nhello\r\n0\r\n",
    ],
)
async def test_reply_cut_short_is_unavailable(sent: bytes) -> None:
    client, _ = await replies(sent)
    with pytest.raises(PeerUnavailable):
        await (await client.request("GET", "/")).body.read(100)


async def test_no_answer_in_time_is_unavailable(autojump_clock: MockClock) -> None:
    client, _ = await replies(b"", close=False)
    with trio.fail_after(4), pytest.raises(PeerUnavailable):
        await client.request("GET", "/")
    assert not client.is_usable


async def test_second_request_before_the_end_of_a_body_is_our_bug() -> None:
    client, _ = await replies(b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello" * 2)
    reply = await client.request("GET", "/")
    with pytest.raises(LocalProtocolError):
        await client.request("GET", "/")
    await reply.body.read(5)


async def test_answer_without_a_question_is_refused() -> None:
    client, _ = await replies(b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello" * 2)
    await (await client.request("GET", "/")).body.read(5)
    with pytest.raises(RemoteProtocolError):
        await client.request("GET", "/")


async def test_cancelled_request_ends_the_client(autojump_clock: MockClock) -> None:
    client, _ = await replies(b"", close=False)
    with trio.move_on_after(1):
        await client.request("GET", "/")
    with pytest.raises(LocalProtocolError):
        await client.request("GET", "/")


# --- both, over TLS and over plain streams --------------------------------------------------------------------------


async def _plain() -> tuple[trio.abc.Stream, trio.abc.Stream]:
    return memory_stream_pair()


async def _tls() -> tuple[trio.abc.Stream, trio.abc.Stream]:
    return await tls_pair()


each_stream = pytest.mark.parametrize("make", [_plain, _tls])
Make = Callable[[], Awaitable[tuple[trio.abc.Stream, trio.abc.Stream]]]


@each_stream
@pytest.mark.parametrize("target", ["/chunks", "/sized"])
async def test_large_body_arrives_whole(make: Make, target: str) -> None:
    ours, theirs = await make()
    server = Server()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, theirs, answer, Limits())
        client = Client(ours, host="a")
        for _ in range(2):
            reply = await client.request("GET", target)
            assert reply.body.length == (None if target == "/chunks" else len(BIG))
            received = bytearray(len(BIG) + 10)
            filled = 0
            while count := await reply.body.receive_into(memoryview(received)[filled:]):
                filled += count
            assert bytes(received[:filled]) == BIG
        await ours.aclose()
    assert server.outcome is False


@each_stream
async def test_streamed_request_of_known_length(make: Make) -> None:
    async def body() -> AsyncIterator[Pieces]:
        yield b"ab"
        yield (b"c", b"d")

    ours, theirs = await make()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Server().run, theirs, answer, Limits())
        reply = await Client(ours, host="a").request("POST", "/echo", body=body(), length=4)
        assert await reply.body.read(10) == b"abcd"
        await ours.aclose()


@pytest.mark.parametrize("length", [len(BIG) - 1, len(BIG) + 1])
async def test_body_of_another_length_than_announced_is_our_bug(length: int) -> None:
    async def handle(_asked: Asked, _body: Body) -> Response:
        return Response(200, chunks(), length=length)

    _, server = await raw_exchange(request("/"), handle)
    assert isinstance(server.outcome, LocalProtocolError)


@each_stream
async def test_roles_are_swapped_for_the_life_of_the_stream(make: Make) -> None:
    ours, theirs = await make()
    async with trio.open_nursery() as nursery:

        async def was_server() -> None:
            assert await serve(theirs, answer, admit=admit) is True
            client = Client(theirs, host="a")
            for _ in range(3):
                reply = await client.request("POST", "/echo", body=b"now I ask")
                assert await reply.body.read(100) == b"now I ask"
            await theirs.aclose()

        nursery.start_soon(was_server)
        client = Client(ours, host="a")
        reply = await client.request("GET", "/swap")
        assert await reply.body.read(100) == b"your turn"
        await trio.testing.wait_all_tasks_blocked()  # the other side asks at once
        rest = client.hand_over()
        assert await serve(ours, answer, admit=admit, rest=rest) is False
        await ours.aclose()


async def test_request_behind_the_one_that_swaps_the_roles_is_refused() -> None:
    """It would be taken for the answer to what we ask from then on."""
    answered, server = await raw_exchange(request("/swap") + request("/none"))
    assert statuses(answered) == [200]
    assert isinstance(server.outcome, RemoteProtocolError)
    answered, server = await raw_exchange(request("/swap"))
    assert server.outcome is True


async def test_request_sent_together_with_the_answer_that_swaps_is_not_lost() -> None:
    client, theirs = await replies(
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n" + request("/echo", method="POST", body=b"early")
    )
    await client.request("GET", "/swap")
    assert await serve(client.stream, answer, admit=admit, rest=client.hand_over()) is False
    assert bytes(await theirs.receive_some()).endswith(b"early")


async def test_generator_of_a_body_is_closed_when_the_peer_leaves() -> None:
    closed = trio.Event()

    async def endless() -> AsyncIterator[Pieces]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            closed.set()

    async def handle(_asked: Asked, _body: Body) -> Response:
        return Response(200, endless())

    client_end, server_end = await tls_pair()
    server = Server()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, server_end, handle, Limits())
        await Client(client_end, host="a").request("GET", "/")
        client_end.abort()
    assert closed.is_set()
    assert isinstance(server.outcome, PeerUnavailable)


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_connection_that_is_cut_while_a_body_is_read_is_lost_and_no_fault_of_ours(is_chunked: bool) -> None:
    """A daemon that stops cuts its connections, and whoever reads from one finds out at the next byte."""
    ours, theirs = await tls_pair()
    client = Client(ours, host="test")
    head = CHUNKED + b"32\r\n" if is_chunked else b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    await theirs.send_all(head + b"x" * 10)
    body = (await client.request("GET", "/")).body
    assert await body.receive_some() == b"x" * 10
    ours.abort()
    with pytest.raises(PeerUnavailable, match="lost"):
        await body.receive_some()
    theirs.abort()
