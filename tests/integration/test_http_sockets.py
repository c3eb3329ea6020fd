"""Async. HTTP over real sockets: whole bodies both ways, other clients, and disconnects at every moment."""

from __future__ import annotations

import http.client
import socket
from collections.abc import AsyncIterator
from hashlib import blake2b
from pathlib import Path
from random import Random

import pytest
import trio

from syncd.errors import PeerUnavailable, RemoteProtocolError
from syncd.http import Body, Client, Limits, Pieces, Response, serve
from syncd.net.blocks import receive_frames
from syncd.net.connections import Connection
from syncd.net.dial import dial
from syncd.net.sockets import SocketNetwork
from syncd.protocol import tls
from syncd.protocol.frames import FrameReader, FrameStatus, pack_frame
from syncd.protocol.heads import Head
from syncd.protocol.requests import request_untrusted
from syncd.seams import Buffer
from tests.helpers.folders import make_folder
from tests.helpers.listener import CIPHERTEXT, StillClock, listening

FOLDER = make_folder()
SIZES = [1, 4096, 70_000, 262_160, 1_000_000] * 4
NOISE = Random(1).randbytes(1_000_000)


def table() -> tls.LabelTable:
    table = tls.LabelTable()
    FOLDER.serve(table)
    return table


async def serve_frames(connection: Connection) -> None:
    async def frames() -> AsyncIterator[Buffer]:
        for index, size in enumerate(SIZES):
            yield pack_frame(index, FrameStatus.OK, NOISE[:size])

    async def handle(_request: object, _body: Body) -> Response:
        return Response(200, frames())

    await serve(connection.stream, handle, admit=lambda head: request_untrusted(head, FOLDER.label))


async def test_blocks_of_all_sizes_arrive_over_tls() -> None:
    async with listening(table(), serve_frames) as server:
        stream = await dial(SocketNetwork(), StillClock(), server.address, FOLDER.dial())
        client = Client(stream, host=FOLDER.label)
        for _ in range(2):
            reply = await client.request("POST", "/v1/blocks", body=b"")
            digests = [
                blake2b(frame.ciphertext).digest()
                async for frames in receive_frames(reply.body, FrameReader([len(NOISE)] * len(SIZES)))
                for frame in frames
            ]
            assert digests == [blake2b(NOISE[:size]).digest() for size in SIZES]
        await stream.aclose()


async def test_client_that_disconnects_at_any_moment_leaves_nothing_behind() -> None:
    """The request is cut after every byte, and the answer after some."""
    asked = f"GET /v1/blocks/{'00' * 32} HTTP/1.1\r\nHost: {FOLDER.label}\r\n\r\n".encode()
    async with listening(table()) as server:
        for length in range(0, len(asked) + 1, 7):
            stream = await dial(SocketNetwork(), StillClock(), server.address, FOLDER.dial())
            await stream.send_all(asked[:length])
            stream.abort()
        for received in (1, 20, 5000):
            stream = await dial(SocketNetwork(), StillClock(), server.address, FOLDER.dial())
            await stream.send_all(asked)
            await stream.receive_some(received)
            stream.abort()
        stream = await dial(SocketNetwork(), StillClock(), server.address, FOLDER.dial())
        reply = await Client(stream, host=FOLDER.label).request("GET", f"/v1/blocks/{'00' * 32}")
        assert await reply.body.read(1 << 20) == CIPHERTEXT
        await stream.aclose()
        with trio.fail_after(60):
            while len(server.connections):  # noqa: ASYNC110 - other tasks notice a reset when the kernel tells them
                await trio.sleep(0.005)


# --- a Unix socket, as the control socket is one -------------------------------------------------------------------


async def echo(head: Head, body: Body) -> Response:
    async def lines() -> AsyncIterator[Pieces]:
        for number in range(3):
            yield f'{{"line":{number}}}\n'.encode()

    if head.target == b"/lines":
        return Response(200, lines(), fields=(("content-type", "application/x-ndjson"),))
    return Response(200, await body.read(1000))


async def serve_unix(path: Path, *, task_status: trio.TaskStatus[None]) -> None:
    listening_socket = trio.socket.socket(socket.AF_UNIX)
    await listening_socket.bind(str(path))
    listening_socket.listen()
    listener = trio.SocketListener(listening_socket)

    async def handle(stream: trio.SocketStream) -> None:
        await serve(stream, echo, admit=lambda head: head)

    task_status.started()
    await trio.serve_listeners(handle, [listener])


class UnixConnection(http.client.HTTPConnection):
    """How the command line talks to the daemon: the standard library's client over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


async def test_standard_clients_are_understood_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"

    def ask() -> tuple[bytes, bytes, bytes]:
        connection = UnixConnection(path)
        connection.request("POST", "/echo", body=b"hello", headers={"Content-Type": "application/json"})
        echoed = connection.getresponse().read()
        connection.request("GET", "/lines")
        lines = connection.getresponse().read()
        connection.request("POST", "/echo", body=b"")
        empty = connection.getresponse().read()
        connection.close()
        return echoed, lines, empty

    async with trio.open_nursery() as nursery:
        await nursery.start(serve_unix, path)
        assert await trio.to_thread.run_sync(ask) == (b"hello", b'{"line":0}\n{"line":1}\n{"line":2}\n', b"")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("sent", [b"\x00" * 100_000, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000])
async def test_garbage_is_answered_and_closed(tmp_path: Path, sent: bytes) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        with pytest.raises((RemoteProtocolError, PeerUnavailable)):
            await serve(stream, echo, admit=lambda head: head, limits=Limits(head_s=1))

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        stream = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        await stream.send_all(sent)
        await stream.send_eof()
        answered = b""
        async for part in stream:
            answered += part
        assert answered.startswith(b"HTTP/1.1 4")
        nursery.cancel_scope.cancel()
        await stream.aclose()
