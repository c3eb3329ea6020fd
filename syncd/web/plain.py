"""Async. A connection of the network seam as the trio stream that the runner of HTTP, and TLS, take."""

from __future__ import annotations

import trio

from syncd.seams import Buffer, RawStream


class PlainStream(trio.abc.Stream):
    """Bytes in, bytes out, nothing between."""

    def __init__(self, raw: RawStream) -> None:
        self._raw = raw

    async def send_all(self, data: Buffer) -> None:
        await self._raw.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._raw.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._raw.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._raw.aclose()
