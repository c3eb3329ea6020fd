"""Async. Two connected raw streams in memory, and TLS over them."""

from __future__ import annotations

import trio
from trio.testing import memory_stream_pair

from syncd.net.stream import TlsStream, accept_tls, connect_tls
from syncd.protocol import tls
from syncd.seams import Buffer, RawStream
from tests.helpers.folders import NOW, Folder, make_folder


class MemoryPipe:
    """One end of trio's memory stream, with `abort`. Implements `seams.RawStream`."""

    def __init__(self, stream: trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]):
        self._stream = stream
        self.sent = bytearray()
        self.is_closed = False

    async def send_all(self, data: Buffer) -> None:
        self.sent += data
        await self._stream.send_all(bytes(data))

    async def send_some(self, data: memoryview) -> int:
        await self.send_all(data)
        return len(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def receive_into(self, buffer: memoryview) -> int:
        data = await self.receive_some(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    @property
    def is_left(self) -> bool:
        return self.is_closed

    async def aclose(self) -> None:
        self.is_closed = True
        await self._stream.aclose()

    def abort(self) -> None:
        self.is_closed = True
        self._stream.send_stream.close()
        self._stream.receive_stream.close()


def pipe_pair(kind: type[MemoryPipe] = MemoryPipe) -> tuple[MemoryPipe, MemoryPipe]:
    left, right = memory_stream_pair()
    return kind(left), kind(right)


async def tls_pair(
    folder: Folder | None = None, raw: tuple[RawStream, RawStream] | None = None
) -> tuple[TlsStream, TlsStream]:
    """Client and server ends of a member connection."""
    folder = folder or make_folder()
    table = tls.LabelTable()
    folder.serve(table)
    return await shake_hands(folder.dial(), table, raw)


async def shake_hands(
    outgoing: tls.Outgoing, table: tls.LabelTable, raw: tuple[RawStream, RawStream] | None = None, now: float = NOW
) -> tuple[TlsStream, TlsStream]:
    left, right = raw or pipe_pair()
    ends: dict[str, TlsStream] = {}

    async def connect() -> None:
        ends["client"] = await connect_tls(left, outgoing, now)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connect)
        ends["server"] = await accept_tls(right, table, now)
    return ends["client"], ends["server"]
